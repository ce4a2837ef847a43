"""The command line: `memgpt configure`, `load directory`, `run`, and the rest.

`main` declares the commands and imports dependencies only when one runs, so that `--help` and `version` stay fast.
"""
