"""The commands and their flags, one module for each group of the help.

A command imports what it needs when it runs, so that ``--help`` and ``version`` stay quick.
"""
