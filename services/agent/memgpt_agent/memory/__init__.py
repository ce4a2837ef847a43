"""The Memory service as the loop sees it: the port, and the client that speaks gRPC."""
