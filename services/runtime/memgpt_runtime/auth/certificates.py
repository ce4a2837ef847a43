"""Client certificates, mapped to tenants and roles by settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from cryptography import x509
from memgpt.config import ConfigError

from memgpt_runtime.principal import CredentialKind, Principal, Role, is_tenant

_NAME_KEYS = ("x509_subject_alternative_name", "x509_common_name")
_MOST_CERTIFICATES = 4_096


class Certificates:
    """Principals by the names in certificates. Exact names count before prefixes, earlier entries before later ones."""

    def __init__(self, entries: Sequence[str]) -> None:
        """Set the mapping up.

        Args:
            entries: ``NAME TENANT ROLE`` each; a name that ends with ``*`` stands for every name with that prefix.

        Raises:
            ConfigError: An entry is malformed.
        """
        self._exact: dict[str, Principal] = {}
        self._prefixes: list[tuple[str, Principal]] = []
        for entry in entries:
            name, principal = _parse(entry)
            if name.endswith("*"):
                self._prefixes.append((name[:-1], principal))
            else:
                self._exact.setdefault(name, principal)

    def __bool__(self) -> bool:
        return bool(self._exact or self._prefixes)

    def find(self, names: Iterable[str]) -> Principal | None:
        """Return the principal of a certificate with these names, or None; their order does not count."""
        names = list(names)
        for name, principal in self._exact.items():
            if name in names:
                return replace(principal, credential_id=name, credential_name=name)
        for prefix, principal in self._prefixes:
            for name in names:
                if name.startswith(prefix):
                    return replace(principal, credential_id=name, credential_name=name)
        return None


def certificate_names(auth_context: Mapping[str, Iterable[bytes]]) -> list[str]:
    """Return the names in the certificate of a connection: alternative names, then the common name."""
    return [name.decode(errors="replace") for key in _NAME_KEYS for name in auth_context.get(key, ())]


def certificate_expiry(auth_context: Mapping[str, Iterable[bytes]]) -> float | None:
    """Return when the certificate of a connection expires, in seconds since 1970; None if that is not known."""
    return next((_expiry(pem) for pem in auth_context.get("x509_pem_cert", ())), None)


@lru_cache(maxsize=_MOST_CERTIFICATES)
def _expiry(pem: bytes) -> float | None:
    try:
        return x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()
    except (ValueError, x509.InvalidVersion):  # the TLS library, which accepted the certificate, is less strict
        return None


def _parse(entry: str) -> tuple[str, Principal]:
    try:
        name, tenant, role = entry.strip().rsplit(None, 2)
        if not is_tenant(tenant):
            raise ValueError(f'"{tenant[:80]}" is not the name of a tenant')
        return name, Principal(tenant, Role.parse(role), CredentialKind.CERTIFICATE)
    except ValueError as error:
        detail = "" if "unpack" in str(error) else f" ({error})"
        raise ConfigError(
            f'server.certificates: "{entry[:200]}" is not "NAME TENANT ROLE", such as "spiffe://example.org/app acme '
            f'user"{detail}'
        ) from None
