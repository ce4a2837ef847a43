from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from memgpt_agent import envelopes

MOMENT = datetime(2024, 5, 1, 13, 7, 9, tzinfo=UTC)


def test_times_are_told_in_the_agents_zone() -> None:
    assert envelopes.format_time(MOMENT, "UTC") == "2024-05-01 01:07:09 PM UTC+0000"
    assert envelopes.format_time(MOMENT, "Europe/Berlin") == "2024-05-01 03:07:09 PM CEST+0200"
    assert envelopes.format_time(MOMENT, "") == "2024-05-01 01:07:09 PM UTC+0000"


@pytest.mark.parametrize("name", ["Mars/Olympus", "../etc/passwd", "Europe"])
def test_an_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="IANA name"):
        envelopes.zone(name)


def test_the_shapes() -> None:
    assert json.loads(envelopes.user_message("Grüß Gott 🙂", "T")) == {
        "type": "user_message",
        "message": "Grüß Gott 🙂",
        "time": "T",
    }
    assert json.loads(envelopes.user_message("Hi", "T", "Ada"))["name"] == "Ada"
    assert json.loads(envelopes.login(envelopes.NEVER, "T"))["type"] == "login"
    assert json.loads(envelopes.function_result(True, "fine", "T")) == {"status": "OK", "message": "fine", "time": "T"}
    assert json.loads(envelopes.function_result(False, "no", "T"))["status"] == "Failed"


def test_non_ascii_is_kept() -> None:
    assert "Grüß Gott 🙂" in envelopes.user_message("Grüß Gott 🙂", "T")


def test_events_of_the_system_say_so() -> None:
    for text, key in ((envelopes.heartbeat("go on", "T"), "reason"), (envelopes.system_alert("full", "T"), "message")):
        assert json.loads(text)[key].startswith("[This is an automated system message hidden from the user]")


def test_reading_what_is_no_envelope() -> None:
    assert envelopes.parse("[1]") == {}
    assert envelopes.kind("oops") == ""
    assert envelopes.result_text("plain") == "plain"
    assert not envelopes.result_ok("plain")
