"""Generated from protos/memgpt/memory/v1."""
