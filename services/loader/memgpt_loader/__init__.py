"""The Loader: turns documents into passages and streams them to Memory.

A load is a manifest of files that belong to one source. The packages, from the contract down:

* `rpc`: the servicer, which translates between the protos and `loads`.
* `loads`: the life of a load, from its manifest to the status of each file.
* `memory`: what the Loader needs from the Memory service, and the client of it.
* `parsing`: parser processes, bounded in memory and time, so that a bad file fails on its own.
* `formats`: the document formats, each in one module.

Importing this package imports nothing else, so that a parser process starts quickly.
"""
