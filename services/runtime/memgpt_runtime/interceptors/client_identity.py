"""Refuses clients by the names in their certificates.

A CA of a cluster or a mesh signs certificates for every workload, so names decide which of them may call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from memgpt_runtime import reasons
from memgpt_runtime.interceptors.rpc import Call, Rpc

_NAME_KEYS = ("x509_subject_alternative_name", "x509_common_name")


class ClientIdentity:
    """Allows only clients whose certificates have one of the allowed names; health and reflection are exempt."""

    name = "identity"

    def __init__(self, allowed: Sequence[str]) -> None:
        """Set the stage up.

        Args:
            allowed: Subject alternative names, such as ``spiffe://cluster.local/ns/memgpt/sa/agent``, or common names.
                A name that ends with ``*`` allows every name with that prefix. Empty allows every client.
        """
        self._exact = frozenset(name for name in allowed if not name.endswith("*"))
        self._prefixes = tuple(name[:-1] for name in allowed if name.endswith("*"))

    async def around(self, rpc: Rpc, call: Call) -> Any:
        """Run the call if the client is allowed."""
        if (self._exact or self._prefixes) and not rpc.infrastructure:
            names = _names(rpc.wire.auth_context())
            if not any(name in self._exact or name.startswith(self._prefixes) for name in names):
                raise reasons.not_permitted(
                    "the client's certificate has none of the allowed names; add one to server.tls_client_names",
                    permission="connect",
                )
        return await call()


def _names(auth_context: Mapping[str, Iterable[bytes]]) -> list[str]:
    return [name.decode(errors="replace") for key in _NAME_KEYS for name in auth_context.get(key, ())]
