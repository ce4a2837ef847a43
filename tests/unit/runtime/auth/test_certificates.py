"""Client certificates, mapped to tenants and roles."""

from __future__ import annotations

import ssl
import time
from itertools import permutations
from pathlib import Path

import pytest
from memgpt.config import ConfigError
from memgpt_runtime.auth.certificates import Certificates, certificate_expiry, certificate_names
from memgpt_runtime.principal import CredentialKind, Principal, Role

from tests.support.certificates import Authority


def test_names_are_mapped_exactly_before_by_prefix() -> None:
    certificates = Certificates(
        [
            "spiffe://corp/ns/* acme reader",
            "spiffe://corp/ns/app acme user",
            "John Doe globex admin",
            "agent default service",
        ]
    )
    app = certificates.find(["10.0.0.1", "spiffe://corp/ns/app"])
    assert app == Principal(
        "acme", Role.USER, CredentialKind.CERTIFICATE, "spiffe://corp/ns/app", "spiffe://corp/ns/app"
    )
    assert certificates.find(["spiffe://corp/ns/other"]).role is Role.READER  # type: ignore[union-attr]
    assert certificates.find(["John Doe"]).tenant == "globex"  # type: ignore[union-attr]
    assert certificates.find(["agent"]).role is Role.SERVICE  # type: ignore[union-attr]
    assert certificates.find(["agent2", "spiffe://corp/"]) is None
    assert certificates.find([]) is None


def test_of_several_entries_for_one_certificate_the_first_counts() -> None:
    certificates = Certificates(["corp/* acme reader", "lab/* globex user", "lab/b acme admin", "corp/a acme user"])
    for names, expected in (
        (["corp/a", "lab/b", "corp/c"], "lab/b"),
        (["lab/c", "corp/a"], "corp/a"),
        (["lab/c", "corp/c"], "corp/c"),
    ):
        for order in permutations(names):
            assert certificates.find(order).credential_id == expected  # type: ignore[union-attr]


@pytest.mark.parametrize("entry", ["", "name", "name tenant", "name Tenant user", "name acme king", "name acme USER"])
def test_malformed_entries_are_named(entry: str) -> None:
    with pytest.raises(ConfigError, match=r"server\.certificates.*NAME TENANT ROLE"):
        Certificates([entry])


def test_the_expiry_of_a_certificate(tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue("client", seconds=1000)
    expires = certificate_expiry({"x509_pem_cert": [issued.cert.read_bytes()]})
    assert expires == pytest.approx(time.time() + 1000, abs=60)
    assert certificate_expiry({}) is None
    assert (
        certificate_expiry({"x509_pem_cert": [b"-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n"]}) is None
    )


def test_a_certificate_of_an_odd_version_has_no_known_expiry(tmp_path: Path) -> None:
    der = ssl.PEM_cert_to_DER_cert(Authority(tmp_path).issue("client").cert.read_text())
    version_3, version_2 = b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x01"
    assert version_3 in der
    pem = ssl.DER_cert_to_PEM_cert(der.replace(version_3, version_2, 1))
    assert certificate_expiry({"x509_pem_cert": [pem.encode()]}) is None


def test_names_of_a_connection() -> None:
    auth_context = {
        "x509_common_name": [b"common"],
        "x509_subject_alternative_name": [b"spiffe://a", b"b.example"],
        "transport_security_type": [b"ssl"],
    }
    assert certificate_names(auth_context) == ["spiffe://a", "b.example", "common"]
