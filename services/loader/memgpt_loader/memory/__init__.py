"""The Memory service as the Loader uses it: `port` is the interface, `client` implements it over gRPC."""
