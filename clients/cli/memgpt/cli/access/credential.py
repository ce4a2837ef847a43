"""Messages about credentials that a service refuses: what is wrong, with which credential, and what to do."""

from __future__ import annotations

import os
from collections.abc import Mapping

from memgpt.cli.access import profiles
from memgpt.cli.settings import KEY_VARIABLE, ClientSettings, load_settings
from memgpt.client import Reason, ServiceError
from memgpt.config import ConfigError, home_dir

_REMEDIES: Mapping[str, str] = {
    Reason.CREDENTIAL_MISSING: "the services require a credential; run `memgpt login`, or set MEMGPT_API_KEY",
    Reason.CREDENTIAL_MALFORMED: "{what} is neither an API key nor a JSON Web Token; copy it again, and run"
    " `memgpt login`",
    Reason.CREDENTIAL_UNKNOWN: "the services do not know {what}: {message}; it may belong to another server; see"
    " `memgpt profiles list`, or run `memgpt login` with another one",
    Reason.CREDENTIAL_EXPIRED: "{what} has expired; ask an administrator for a new one (`memgpt keys create` or"
    " `memgpt keys rotate`), and run `memgpt login`",
    Reason.CREDENTIAL_REVOKED: "{what} was revoked; ask an administrator for a new one (`memgpt keys create`), and run"
    " `memgpt login`",
    Reason.CREDENTIAL_INVALID: "the services rejected {what}: {message}; get a new one, and run `memgpt login`",
    Reason.PRINCIPAL_REFUSED: "{message}; use a credential of a service for calls on behalf of others",
}

_API_KEY = "mgpt_"
"""What an API key begins with, and no other token."""

_HIDDEN = (Reason.AGENT_NOT_FOUND, Reason.SOURCE_NOT_FOUND, Reason.LOAD_NOT_FOUND)
"""Reasons of resources that may exist in another tenant."""


def explain_refusal(error: ServiceError, message: str, tried: ClientSettings | None = None) -> str:
    """Add to a message what to do about a credential that does not suffice; return other messages unchanged.

    Args:
        error: The error of the service.
        message: Its message for people.
        tried: The settings of a login with the credential; None for the credential in use.
    """
    if error.reason == Reason.CREDENTIAL_EXPIRED and (remedy := _replacement(tried)):
        return remedy
    if error.reason in _REMEDIES:
        return _REMEDIES[error.reason].format(what=_name(tried), message=message)
    if error.reason == Reason.NOT_PERMITTED and "role" in error.metadata:
        return f"{message}; ask an administrator for a key with that role, or choose another server by --profile"
    if error.reason in _HIDDEN and (place := _tenant()):
        return f"{message}; {place}"
    return message


def _replacement(tried: ClientSettings | None) -> str:
    """Return what to do about an expired credential; empty for an API key."""
    try:
        settings = tried or load_settings().service
    except ConfigError:
        return ""
    token = settings.token()
    if token is None and settings.tls_cert is not None:
        return f"the client certificate {settings.tls_cert} has expired; replace it and its key, and try again"
    if token is not None and not token.startswith(_API_KEY):
        return f"{_name(tried)} has expired; get a new token from its provider, and run `memgpt login`"
    return ""


def _name(tried: ClientSettings | None) -> str:
    return "this credential" if tried is not None else _name_of_credential()


def _name_of_credential() -> str:
    """Return the name of the credential in use, without its value."""
    if os.environ.get(KEY_VARIABLE):
        return f"the credential in {KEY_VARIABLE}"
    try:
        found = profiles.current(home_dir())
        if found is not None:
            kind = "API key" if found[1].api_key.startswith(_API_KEY) else "credential"
            return f'the {kind} of profile "{found[0]}"'
        if load_settings().service.api_key.get_secret_value():
            return "the credential in client.api_key"
    except ConfigError:
        pass
    return "the credential"


def _tenant() -> str:
    """Return a clause with the tenant in use; empty if it is not known."""
    if os.environ.get(KEY_VARIABLE):
        return f"`memgpt whoami` shows the tenant of the key in {KEY_VARIABLE}"
    try:
        found = profiles.current(home_dir())
    except ConfigError:
        return ""
    if found is None or not found[1].tenant:
        return ""
    return f'profile "{found[0]}" sees only the tenant "{found[1].tenant}"'
