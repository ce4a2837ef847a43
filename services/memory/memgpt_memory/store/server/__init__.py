"""The adapter for a Milvus server: `store` is the adapter, `consistency` decides what a read waits for."""
