"""The keys with which services authenticate to one another."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from memgpt.config import ConfigError, ServerSettings
from memgpt_runtime.auth import service_keys
from memgpt_runtime.auth.service_keys import ServiceKeys
from pydantic import SecretStr

OLD, NEW = "o" * 32, "n" * 40


def test_without_keys_nothing_is_sent_or_accepted() -> None:
    keys = ServiceKeys(ServerSettings())
    assert keys.sent() is None
    assert not keys.accept("")
    assert not keys.accept(OLD)


def test_a_key_of_a_setting() -> None:
    keys = ServiceKeys(ServerSettings(service_key=SecretStr(OLD)))
    assert keys.sent() == OLD
    assert keys.accept(OLD)
    assert not keys.accept(OLD + "x")
    assert not keys.accept("ø" * 32)


def test_all_lines_are_accepted_and_the_first_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_keys, "_CHECK_SECONDS", 0)
    file = tmp_path / "keys"
    file.write_text(f"{OLD}\n\n  {NEW}  \n")
    keys = ServiceKeys(ServerSettings(service_key_file=file))
    assert keys.sent() == OLD
    assert keys.accept(NEW)
    file.write_text(f"{NEW}\n")
    assert keys.sent() == NEW
    assert not keys.accept(OLD)
    file.write_text("too short\n")
    assert keys.accept(NEW), "an unusable file changes nothing"
    file.unlink()
    assert keys.accept(NEW)


def test_a_missing_or_unusable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"server\.service_key_file: cannot read .*: no such file"):
        ServiceKeys(ServerSettings(service_key_file=tmp_path / "none"))
    file = tmp_path / "keys"
    for content in ("", "\n", f"{OLD}\nshort\n", "k" * 9000):
        file.write_text(content)
        with pytest.raises(ConfigError, match="each line"):
            ServiceKeys(ServerSettings(service_key_file=file))


def test_a_missing_file_is_created_once(tmp_path: Path) -> None:
    settings = ServerSettings(service_key_file=tmp_path / "keys", create_service_key=True)
    first, second = ServiceKeys(settings), ServiceKeys(settings)
    assert first.sent() == second.sent()
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) & 0o007 == 0
    assert [file.name for file in tmp_path.iterdir()] == ["keys"]
    with pytest.raises(ConfigError, match="cannot create"):
        ServiceKeys(ServerSettings(service_key_file=tmp_path / "no folder" / "keys", create_service_key=True))


def test_the_folder_of_a_file_that_exists_is_not_written_to(tmp_path: Path) -> None:
    settings = ServerSettings(service_key_file=tmp_path / "keys", create_service_key=True)
    ServiceKeys(settings)
    before = tmp_path.stat().st_mtime_ns
    ServiceKeys(settings)
    assert tmp_path.stat().st_mtime_ns == before
