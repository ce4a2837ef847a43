"""The Agent service: the MemGPT loop over any chat model, with all of its state in Memory.

``loop`` runs turns. ``functions`` are what agents can call, one module each. ``context_window`` composes prompts and
keeps them within the model's window. ``models`` calls chat models. ``memory`` and ``remote_tools`` call other services.
``heartbeats`` wakes agents at set times. ``rpc`` serves clients. Only ``memory``, ``remote_tools`` and
``rpc`` know gRPC, and only ``models`` knows a vendor's client.
"""
