"""Loads: created from a manifest, fed by uploads, watched by clients, persisted in Memory.

| module | what |
| --- | --- |
| `registry` | the operations on loads, and the loads that this process works on |
| `live_load`, `events` | one such load, its numbered events and its watchers |
| `plan` | which files of a manifest must be uploaded, given what the source already holds |
| `uploads`, `spool`, `spooled_file` | the bytes of an upload, on disk until they are parsed, within a quota |
| `processing`, `pipeline` | the work on a file: parse, chunk, store, or change its labels |
| `lifecycle` | how a load is saved, released, lost, cancelled and ended |
| `leases`, `records` | which Loader works on a load, and the encoding of a load in Memory |
| `remote` | uploads, withdrawals and cancellations for loads that another Loader works on |
| `rate_limit` | the rate limit of the embedding endpoint, as the files of a load have met it |
| `background`, `keyed_lock`, `stats` | tasks, locks and counters |
"""
