"""Generated from protos/memgpt/agent/v1."""
