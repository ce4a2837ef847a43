"""Configuration: questions, the file, endpoints, and what is wrong with the whole."""
