"""Import of agents, memories and documents from other systems' files.

A reader (one module per format) turns a file into `pieces`. `plan` fits them to the contracts and reports every change.
`bring` sends them to the services. Nothing that a file contains is ever executed, opened as a path, or called.
"""
