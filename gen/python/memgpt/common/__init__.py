"""Generated from protos/memgpt/common."""
