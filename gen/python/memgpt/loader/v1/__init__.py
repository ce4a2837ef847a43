"""Generated from protos/memgpt/loader/v1."""
