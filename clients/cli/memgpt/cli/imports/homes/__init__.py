"""MemGPT 0.1 to 0.3: the folder ``~/.memgpt``."""
