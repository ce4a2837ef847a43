"""Who calls: the tenant, the role and the credential of a call.

It depends on nothing, so that domain code may use it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from functools import lru_cache
from urllib.parse import quote, unquote

DEFAULT_TENANT = "default"

_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class Role(IntEnum):
    """What a caller may do. Each role may do what the roles before it may; the numbers are those of the contract."""

    READER = 1
    USER = 2
    ADMIN = 3
    OPERATOR = 4
    SERVICE = 5

    def __str__(self) -> str:
        return self.name.lower()

    @classmethod
    def parse(cls, text: str) -> Role:
        """Return the role with a name such as ``reader``.

        Raises:
            ValueError: There is no such role.
        """
        for role in cls:
            if str(role) == text:
                return role
        raise ValueError(f'unknown role "{text[:80]}"; use one of {", ".join(map(str, cls))}')


class CredentialKind(StrEnum):
    """Kind of a credential."""

    NONE = "none"
    API_KEY = "api_key"
    JWT = "jwt"
    CERTIFICATE = "certificate"
    SERVICE_KEY = "service_key"


@dataclass(frozen=True, slots=True)
class Principal:
    """The principal on whose behalf a call runs.

    Attributes:
        tenant: 1 to 63 of ``a-z 0-9 _ -``. Rows, names, page tokens and request ids are scoped by it.
        role: What it may do. SERVICE, which may do everything, where no credentials are required and for the work of
            the services themselves.
        kind: Kind of its credential.
        credential_id: Id of the API key, subject of the token, or name in the certificate; empty without a credential.
        credential_name: Name of the API key, or the same as `credential_id`. For people: logs and audits.
        agents: The only agents that it may use; empty for all of the tenant.
        sources: The only sources that it may use; empty for all of the tenant.
        expires: When the credential expires, in seconds since 1970; None if it does not.
        secret: Digest of the secret of the API key that the caller sent; empty for other credentials, and in services
            that the call reaches later.
    """

    tenant: str = DEFAULT_TENANT
    role: Role = Role.SERVICE
    kind: CredentialKind = CredentialKind.NONE
    credential_id: str = ""
    credential_name: str = ""
    agents: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    expires: float | None = None
    secret: bytes = field(default=b"", repr=False, compare=False)

    @property
    def restricted(self) -> bool:
        """Whether it may use only some agents or sources."""
        return bool(self.agents or self.sources)

    def may_use_agent(self, agent_id: str) -> bool:
        """Whether it may use an agent of its tenant."""
        return not self.agents or agent_id in self.agents

    def may_use_source(self, source_id: str) -> bool:
        """Whether it may use a source of its tenant."""
        return not self.sources or source_id in self.sources

    def encode(self) -> str:
        """Return the value of the internal metadata key: ``tenant=acme;role=user;name=…``."""
        parts = [f"tenant={self.tenant}"]
        if self.role is not Role.SERVICE:
            parts.append(f"role={self.role}")
        if self.kind is not CredentialKind.NONE:
            parts.append(f"kind={self.kind}")
        if self.credential_id:
            parts.append(f"id={quote(self.credential_id, safe='')}")
        if self.credential_name and self.credential_name != self.credential_id:
            parts.append(f"name={quote(self.credential_name, safe='')}")
        if self.agents:
            parts.append(f"agents={_join(self.agents)}")
        if self.sources:
            parts.append(f"sources={_join(self.sources)}")
        return ";".join(parts)

    @classmethod
    @lru_cache(maxsize=256)
    def decode(cls, text: str) -> Principal:
        """Decode the value of the internal metadata key; unknown keys are skipped.

        Raises:
            ValueError: The tenant is missing, or a value is malformed.
        """
        pairs = dict(part.partition("=")[::2] for part in text.split(";"))
        tenant = pairs.get("tenant", "")
        if not is_tenant(tenant):
            raise ValueError(f'no valid tenant in the principal "{text[:80]}"')
        credential_id = unquote(pairs.get("id", ""))
        return cls(
            tenant,
            Role.parse(pairs["role"]) if "role" in pairs else Role.SERVICE,
            CredentialKind(pairs.get("kind", "none")),
            credential_id,
            unquote(pairs.get("name", "")) or credential_id,
            _split(pairs.get("agents", "")),
            _split(pairs.get("sources", "")),
        )


def is_tenant(name: str) -> bool:
    """Whether `name` is a possible name of a tenant."""
    return _TENANT.fullmatch(name) is not None


def _join(ids: Iterable[str]) -> str:
    return ",".join(quote(each, safe="") for each in sorted(ids))


def _split(text: str) -> frozenset[str]:
    return frozenset(unquote(each) for each in text.split(",") if each)
