"""Generated from protos/memgpt/tool."""
