"""Endpoints of models that speak OpenAI's protocol: their addresses, and what their refusals mean.

Shared by the Agent, which asks chat models, by Memory, which asks embedding models, and by the command line, which
tries both out.
"""
