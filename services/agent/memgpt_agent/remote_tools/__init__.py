"""Functions that run in other processes: the port, the gRPC client, and the allowed addresses."""
