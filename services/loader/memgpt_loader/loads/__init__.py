"""Loads: created from a manifest, fed by uploads, watched by clients, persisted in Memory.

| module | what |
| --- | --- |
| `registry` | all loads that this process works on: create, get, list, upload, withdraw, watch, cancel |
| `live` | one load in this process, with its numbered events and its followers |
| `plan` | which files of a manifest must be uploaded, given what the source already holds |
| `leases` | which Loader process works on a load |
| `records` | the encoding of a load as Memory persists it |
| `spool` | uploaded files on disk until they are parsed, within a quota |
| `pipeline` | one file on its way: parse, chunk, store |
| `retry` | how long a file is retried |
"""
