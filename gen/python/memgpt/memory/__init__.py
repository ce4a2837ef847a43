"""Generated from protos/memgpt/memory."""
