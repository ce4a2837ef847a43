# Generated from memgpt/client/_async by scripts/sync_client.py. Do not edit.
"""The synchronous client."""
