"""The Agent service: the MemGPT loop over any chat model, with all of its state in Memory.

The domain (envelopes, functions, prompt, window, loop, events, models' ports) knows neither gRPC nor a vendor's client:
``memory_client`` speaks to Memory, ``models.openai_model`` to a chat endpoint, ``servicer`` to clients.
"""
