"""The Loader: turns documents into passages and streams them to Memory.

A load is a manifest of files that belong to one source. The parts, from the bytes up:

* `failures`, `media`, `text`, `formats`: what is in a file, or the reason why it cannot be read.
* `worker`, `pool`: parsing in processes of its own, bounded in memory and time, so that a bomb costs only its file.
* `manifest`, `spool`, `events`, `loads`: the life of a load, from its manifest to the status of each file.
* `memory_client`: the only module that talks to Memory; `servicer`: the only one that knows the Loader's protos.

Importing this package imports nothing else: a parser process starts with no more than it needs.
"""
