"""Shared code of the tests: real processes, a real Milvus server, a scripted model."""
