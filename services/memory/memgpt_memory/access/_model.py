"""The rows of tenants and API keys."""

from __future__ import annotations

from memgpt_memory.records import StoredModel


class SecretRow(StoredModel):
    """A secret of a key.

    Attributes:
        digest: SHA-256 of the secret, in hexadecimal digits.
        hint: The last characters of the token.
        created: When it was created, in microseconds since 1970.
        expires: When it stops being accepted; 0 for the newest one.
    """

    digest: str
    hint: str
    created: int
    expires: int = 0


class ApiKeyRow(StoredModel):
    """An API key. Times are in microseconds since 1970.

    Attributes:
        id: Its id.
        tenant: The tenant that it belongs to.
        name: Unique within the tenant.
        role: Number of its role, as in the contract.
        agents: The only agents that it permits; empty for all.
        sources: The only sources that it permits; empty for all.
        created: When it was created.
        expires: When it expires; 0 for never.
        revoked: When it was revoked; 0 if it is not.
        last_used: When it was last used, exact to a minute; 0 for never.
        secrets: Its secrets, the newest first.
    """

    id: str
    tenant: str
    name: str
    role: int
    agents: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    created: int
    expires: int = 0
    revoked: int = 0
    last_used: int = 0
    secrets: tuple[SecretRow, ...] = ()


class TenantReceipt(StoredModel):
    """What the deletion of a tenant has removed so far; see `TenantReceipt` in the contract.

    Attributes:
        counted: The agent or source whose content is counted, but perhaps not deleted yet.
        rows: Rows of the tenant among the records when the deletion began.
    """

    agents: int = 0
    messages: int = 0
    passages: int = 0
    sources: int = 0
    profiles: int = 0
    api_keys: int = 0
    rows: int = 0
    begun: int = 0
    ended: int = 0
    counted: str = ""

    @property
    def other_rows(self) -> int:
        """Rows of other kinds."""
        return max(0, self.rows - self.agents - self.sources - self.profiles - self.api_keys)


class TenantRow(StoredModel):
    """A tenant.

    Attributes:
        name: Its name.
        created: When it was created, in microseconds since 1970; 0 for a tenant that was never created as such.
        receipt: What its deletion has removed; None if none was begun.
    """

    name: str
    created: int = 0
    receipt: TenantReceipt | None = None

    @property
    def deleting(self) -> bool:
        """Whether it is being deleted."""
        return self.receipt is not None and not self.receipt.ended

    @property
    def deleted(self) -> bool:
        """Whether it was deleted."""
        return self.receipt is not None and bool(self.receipt.ended)
