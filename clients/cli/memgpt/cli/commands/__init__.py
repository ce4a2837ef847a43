"""The commands and their flags, one module for each group of the help.

A command imports its dependencies when it runs, so that ``--help`` and ``version`` stay fast.
"""
