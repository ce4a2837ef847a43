"""Benchmarks of the services from a client's view, compared with plain pymilvus doing the same work in the same run.

``python -m benchmarks`` runs them; `common` has shared code. Each is a module with ``run(options)``, which returns a
`common.Table`.
"""
