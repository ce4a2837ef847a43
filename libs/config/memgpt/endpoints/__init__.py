"""OpenAI-compatible endpoints of models: their addresses, and the meaning of their refusals.

Shared by the Agent, which calls chat models, by Memory, which calls embedding models, and by the command line, which
tests both.
"""
