"""The command line: `memgpt configure`, `load directory`, `run`, and the rest.

`main` declares the commands and imports what they need only when they run, so that `--help` and `version` stay quick.
"""
