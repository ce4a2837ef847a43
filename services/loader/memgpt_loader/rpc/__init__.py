"""The Loader's gRPC surface."""
