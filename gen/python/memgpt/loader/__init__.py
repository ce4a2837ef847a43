"""Generated from protos/memgpt/loader."""
