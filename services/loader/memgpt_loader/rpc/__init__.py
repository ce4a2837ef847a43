"""The gRPC surface of the Loader: the servicer, and the conversion of loads to protos."""
