"""The RPC surface of the Agent."""
