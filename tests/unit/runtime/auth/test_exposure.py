"""A server that other machines can reach needs credentials and TLS, or the operator's word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from memgpt.config import ConfigError, ServerSettings
from memgpt_runtime.auth.exposure import check_exposure, is_loopback

KEY = "k" * 32
TLS: dict[str, Any] = {"tls_cert": Path("c.pem"), "tls_key": Path("k.pem")}


def _settings(**settings: Any) -> ServerSettings:
    return ServerSettings(**settings)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_loopback_needs_nothing(host: str) -> None:
    check_exposure(ServerSettings(), host, "agent")
    check_exposure(_settings(service_key=KEY), host, "agent")


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "[::]", "10.0.0.1", "fe80::1%eth0", "example.org", "localhost.example.org"]
)
def test_other_addresses_need_credentials_and_tls(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(ConfigError, match=r"without credentials; set server\.service_key_file.*allow_anonymous = true"):
        check_exposure(ServerSettings(), host, "agent")
    with pytest.raises(ConfigError, match=r"without TLS.*set server\.tls_cert.*allow_plaintext = true"):
        check_exposure(_settings(service_key=KEY), host, "agent")
    with pytest.raises(ConfigError, match="without credentials"):
        check_exposure(ServerSettings(**TLS, allow_plaintext=True), host, "agent")


def test_a_server_for_tests_stays_on_loopback_unless_it_is_told_otherwise() -> None:
    testing: dict[str, Any] = {"testing": True, "service_key": KEY}
    check_exposure(ServerSettings(**testing), "127.0.0.1", "agent")
    for more in ({}, TLS, {"allow_plaintext": True}):
        with pytest.raises(ConfigError, match=r"accept any token; listen on 127\.0\.0\.1 with agent\.host"):
            check_exposure(ServerSettings(**testing, **more), "0.0.0.0", "agent")
    check_exposure(ServerSettings(**testing, allow_anonymous=True), "0.0.0.0", "agent")


@pytest.mark.parametrize(
    "settings",
    [{"allow_anonymous": True}, {"service_key": KEY, "allow_plaintext": True}, {"service_key": KEY, **TLS}],
)
def test_the_operator_may_allow_it(settings: dict[str, Any]) -> None:
    check_exposure(ServerSettings(**settings), "0.0.0.0", "agent")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"service_key": "short"}, "32 to 512 visible ASCII characters"),
        ({"service_key": "mgpt_" + "k" * 40}, "it is not an API key"),
        ({"service_key": KEY, "service_key_file": "f"}, "exclude each other"),
        ({"create_service_key": True}, "needs service_key_file"),
        ({"certificates": ["a b user"]}, "needs tls_client_ca"),
        ({"jwt_issuer": "https://issuer"}, "belong together"),
        ({"testing": True}, "testing needs service_key"),
        ({"testing_clock": "2026-01-01T00:00:00Z"}, "needs testing = true"),
        ({"testing": True, "service_key": KEY, "testing_clock": "2026-01-01T00:00:00"}, "timezone"),
        ({"testing": True, "service_key": KEY, "testing_clock": "1969-01-01T00:00:00Z"}, "before 1970"),
        ({"jwt_algorithms": ["HS256"]}, "RS256"),
        ({"jwt_algorithms": ["none"]}, "RS256"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        ServerSettings(**settings)
