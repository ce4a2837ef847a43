"""Generated from protos/memgpt/agent."""
