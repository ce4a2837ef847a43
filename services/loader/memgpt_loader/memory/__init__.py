"""Memory as the Loader uses it: `port` says what the Loader needs, `client` calls the Memory service over gRPC."""
