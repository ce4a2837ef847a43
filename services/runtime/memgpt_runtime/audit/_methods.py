"""Which methods are changes: the contract declares it, by the permission that a method needs."""

from __future__ import annotations

from functools import cache

from google.protobuf.descriptor_pool import Default
from memgpt.common.v1.audit_pb2 import read_only
from memgpt.common.v1.permission_pb2 import PERMISSION_PUBLIC, PERMISSION_READ, permission


@cache
def is_change(method: str) -> bool:
    """Return whether a method, such as ``/memgpt.agent.v1.AgentService/GetAgent``, may change what is stored.

    A method is a change unless its permission is to read, or it is declared ``read_only``. A method that is not in the
    contracts is a change.
    """
    try:
        options = Default().FindMethodByName(method[1:].replace("/", ".")).GetOptions()
    except KeyError:
        return True
    if options.Extensions[read_only]:
        return False
    return options.Extensions[permission] not in (PERMISSION_PUBLIC, PERMISSION_READ)
