"""What tests share: real processes, a real Milvus server, a scripted model."""
