"""Configuration: questions, the configuration file, endpoints, and diagnosis."""
