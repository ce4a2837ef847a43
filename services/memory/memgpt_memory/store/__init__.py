"""Rows in Milvus: `layout` says which collections, `filters` escapes, `milvus` talks to the backend."""
