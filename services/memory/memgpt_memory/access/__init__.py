"""Who may use the store: tenants and API keys."""

from __future__ import annotations

from memgpt_memory.access._api_keys import ApiKeys, NewApiKey, valid_secrets
from memgpt_memory.access._first_key import FirstKey
from memgpt_memory.access._model import ApiKeyRow, SecretRow, TenantRow
from memgpt_memory.access._tenants import Tenants

__all__ = ["ApiKeyRow", "ApiKeys", "FirstKey", "NewApiKey", "SecretRow", "TenantRow", "Tenants", "valid_secrets"]
