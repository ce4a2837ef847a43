"""Profiles of the command line: choice, storage, and what a person writes for times and limits."""

from __future__ import annotations

import json
import os
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from memgpt.cli.access import profiles
from memgpt.cli.access.choice import move_to_front
from memgpt.cli.access.credential import explain_refusal
from memgpt.cli.access.login import show_profiles
from memgpt.cli.access.profiles import LOCAL, Profile
from memgpt.cli.access.times import parse_duration, parse_expiry, parse_ttl, ttl_text
from memgpt.cli.errors import CliError, explain
from memgpt.cli.resources import OutputFormat
from memgpt.cli.settings import ClientSettings, load_settings
from memgpt.cli.terminal.ui import Ui
from memgpt.client import Reason, Unauthenticated
from memgpt.config import ConfigError

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
EXPIRED = Unauthenticated(Reason.CREDENTIAL_EXPIRED, "the credential has expired; call again with a new one")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MEMGPT_PROFILE", "MEMGPT_API_KEY", "MEMGPT_CLIENT_AGENT_ADDRESS", "MEMGPT_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MEMGPT_HOME", str(tmp_path))
    return tmp_path


def profile(name: str) -> Profile:
    return Profile(f"{name}:1", f"{name}:2", f"{name}:3", tls=True, api_key=f"key of {name}")


def test_a_key_is_in_no_representation() -> None:
    assert "key of a" not in repr(profile("a"))


def test_the_latest_login_is_the_default(home: Path) -> None:
    assert profiles.current(home) is None
    for name in ("a", "b"):
        profiles.save(home, name, profile(name))
    assert profiles.current(home) == ("b", profile("b"))
    profiles.use(home, "a")
    assert profiles.current(home) == ("a", profile("a"))
    assert profiles.remove(home, "a")
    assert not profiles.remove(home, "a")
    assert profiles.current(home) is None
    with pytest.raises(ConfigError, match="unknown profile"):
        profiles.use(home, "a")


def test_the_file_is_private_whatever_the_umask(home: Path) -> None:
    profiles.save(home, "a", profile("a"))
    assert stat.S_IMODE((home / "profiles.json").stat().st_mode) == 0o600
    assert {file.name for file in home.iterdir()} == {"profiles.json", "profiles.lock"}


def test_logins_at_the_same_time_lose_nothing(home: Path) -> None:
    names = [f"p{number}" for number in range(16)]
    threads = [threading.Thread(target=profiles.save, args=(home, name, profile(name))) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(profiles.load(home).by_name) == set(names)


def test_a_named_profile_comes_before_the_environment_and_that_before_the_default(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        profiles.save(home, name, profile(name))
    assert load_settings().service.agent_address == "b:1"
    assert load_settings(use_profile=False).service.agent_address == ""
    for service in ("AGENT", "LOADER"):
        monkeypatch.setenv(f"MEMGPT_CLIENT_{service}_ADDRESS", "set:1")
    assert load_settings().service.agent_address == "set:1"
    assert load_settings().service.token() is None, "the key of a profile goes to its own servers only"
    monkeypatch.setenv("MEMGPT_PROFILE", "a")
    settings = load_settings().service
    assert (settings.agent_address, settings.token(), settings.tls) == ("a:1", "key of a", True)
    assert "key of a" not in repr(settings)
    monkeypatch.setenv("MEMGPT_API_KEY", "another\n")
    assert load_settings().service.token() == "another"
    monkeypatch.setenv("MEMGPT_PROFILE", LOCAL)
    assert load_settings().service.agent_address == "set:1"
    for name in ("c", "../a", "", "a b"):
        monkeypatch.setenv("MEMGPT_PROFILE", name)
        if name:
            with pytest.raises(ConfigError):
                load_settings()


@pytest.mark.parametrize(
    ("given", "moved"),
    [
        (["list", "agents"], ["list", "agents"]),
        (["list", "--profile", "x", "agents"], ["--profile", "x", "list", "agents"]),
        (["list", "agents", "--profile=x"], ["--profile=x", "list", "agents"]),
        (["ask", "--", "--profile", "x"], ["ask", "--", "--profile", "x"]),
        (["list", "--profile"], ["list", "--profile"]),
        ([], []),
    ],
)
def test_the_option_may_follow_the_command(given: list[str], moved: list[str]) -> None:
    assert move_to_front(given) == moved


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0), ("90s", 90), ("15m", 900), ("24h", 86400), ("30d", 2592000), ("2w", 1209600), ("1y", 31536000)],
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "1", "d", "-1d", "1.5h", "1 d", "1M", "٣d", "9999999d"])
def test_other_texts_are_no_durations(text: str) -> None:
    with pytest.raises(CliError):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "shown"), [("forever", "forever"), ("1y", "365d"), ("48h", "2d"), ("90m", "90m"), ("90s", "90s")]
)
def test_times_to_live(text: str, shown: str) -> None:
    ttl = parse_ttl(text)
    assert ttl is not None
    assert ttl_text(ttl) == shown
    assert parse_ttl(shown) == ttl


def test_other_texts_are_no_times_to_live() -> None:
    assert parse_ttl("") is None
    with pytest.raises(CliError, match="forever"):
        parse_ttl("never")


def test_times() -> None:
    assert parse_expiry("1d", NOW) == datetime(2026, 11, 30, 12, tzinfo=UTC)
    assert parse_expiry("2027-01-31", NOW) == datetime(2027, 1, 31, tzinfo=UTC)
    assert parse_expiry("2027-01-31T12:00+02:00", NOW) == datetime(2027, 1, 31, 10, tzinfo=UTC)
    for text in ("soon", "", "2020-01-01", "0s", "999999d" * 2, "0001-01-01T00:00+23:00", "9999-12-31T23:59-23:00"):
        with pytest.raises(CliError):
            parse_expiry(text, NOW)


def test_profiles_are_listed_although_the_chosen_one_does_not_exist(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    profiles.save(home, "a", profile("a"))
    monkeypatch.setenv("MEMGPT_PROFILE", "gone")
    with pytest.raises(ConfigError, match="`memgpt profiles list` lists them"):
        profiles.current(home)
    show_profiles(Ui(), OutputFormat(json=True))
    found = json.loads(capsys.readouterr().out)
    assert (found["name"], found["in_use"]) == ("a", False)


def test_the_draft_of_a_killed_process_is_replaced(home: Path) -> None:
    draft = home / f".profiles.json.{os.getpid()}"
    draft.write_text("half of a k")
    profiles.save(home, "a", profile("a"))
    assert profiles.load(home).by_name == {"a": profile("a")}
    assert not draft.exists()


@pytest.mark.parametrize(
    ("credential", "explained"),
    [
        ({"api_key": "mgpt_x"}, 'the API key of profile "a" has expired; ask an administrator for a new one'),
        ({"api_key": "e.y.j"}, 'the credential of profile "a" has expired; get a new token from its provider'),
        ({"tls_cert": "/me.pem", "tls_key": "/me.key"}, "the client certificate /me.pem has expired; replace it"),
    ],
)
def test_who_is_told_of_an_expired_credential_learns_how_to_get_another(
    home: Path, credential: dict[str, str], explained: str
) -> None:
    profiles.save(home, "a", Profile("a:1", "a:2", "a:3", tls=True, **credential))  # type: ignore[arg-type]
    assert explain(EXPIRED).startswith(explained)


@pytest.mark.parametrize(
    ("credential", "explained"),
    [
        ({"api_key": "mgpt_x"}, "this credential has expired; ask an administrator for a new one"),
        ({"api_key": "e.y.j"}, "this credential has expired; get a new token from its provider, and run"),
        ({"tls_cert": "/me.pem", "tls_key": "/me.key"}, "the client certificate /me.pem has expired; replace it"),
    ],
)
def test_who_logs_in_with_an_expired_credential_learns_how_to_get_another(
    home: Path, credential: dict[str, str], explained: str
) -> None:
    profiles.save(home, "a", profile("a"))  # which says nothing about the credential of the login
    tried = ClientSettings(agent_address="b:1", loader_address="b:2", tls=True, **credential)  # type: ignore[arg-type]
    assert explain_refusal(EXPIRED, EXPIRED.message, tried).startswith(explained)
