"""Letta's database and core memory; `letta_file` reads its Agent Files."""
