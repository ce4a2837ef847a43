"""The Agent service: the MemGPT loop over any chat model, with all of its state in Memory.

``loop`` runs turns. ``functions`` are what agents can call, one module each. ``context_window`` composes prompts and
keeps them within the model's window; ``envelopes`` wraps events and results for the model. ``models`` calls chat
models. ``memory`` and ``remote_tools`` call other services. ``heartbeats`` wakes agents at the times that
``heartbeat_plan`` computes. ``profiles`` are the presets, personas and humans that ship with the suite. ``domain`` has
the values that all of them use. ``rpc`` serves clients. Only ``memory``, ``remote_tools`` and ``rpc`` know gRPC, and
only ``models`` knows a vendor's client. ``config`` has the settings; ``metrics`` and ``traced_model`` observe calls
from outside the loop.
"""
