"""Generated from protos/memgpt/common/v1."""
