"""Generated from protos/memgpt/tool/v1."""
