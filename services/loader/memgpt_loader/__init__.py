"""The Loader: turns documents into passages and streams them to Memory.

A load is a manifest of files that belong to one source. The packages, from the contract down:

* `rpc`: the servicer, which translates between the protos and `loads`.
* `loads`: the life of a load, from its manifest to the status of each file.
* `memory`: what the Loader needs from the Memory service, and the client of it.
* `parsing`: parser processes, bounded in memory and time, so that a bad file fails on its own.
* `formats`: the document formats, each in one module.

What formats share: `decoding` and `charset_detection` turn bytes into text, `markup` and `tables` write structure as
text, `text_recognition` reads pictures, and `notes` records what the loaded text lacks. `model` is the domain model of
loads, and `failures` has the reasons why a file cannot be loaded. `config` has the settings, `metrics` the metrics.

Importing this package imports nothing else, so that a parser process starts quickly.
"""
