"""Benchmarks: the services as clients see them, beside plain pymilvus doing the same work in the same run.

``python -m benchmarks`` runs them; `common` has what they share. Each is a module with ``run(options)``, which answers
a `common.Table`.
"""
