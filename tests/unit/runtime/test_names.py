from __future__ import annotations

import pytest
from memgpt_runtime.errors import InvalidArgument
from memgpt_runtime.names import check_name


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("", "must not be blank"),
        (" \u3000\u00a0", "must not be blank"),
        (" Ada", "must not begin or end with white space"),
        ("Ada\u2003", "must not begin or end with white space"),
        ("A\x07da", r"must not contain a control character \(U\+0007 at position 2\)"),
        ("A\x85da", r"must not contain a control character \(U\+0085 at position 2\)"),
        ("A\u2028da", r"must not contain a line break \(U\+2028 at position 2\)"),
        ("\u202eadA", r"must not contain an invisible character \(U\+202E at position 1\)"),
        ("A\u2066da", r"must not contain an invisible character \(U\+2066 at position 2\)"),
        ("A\u200bda", r"must not contain an invisible character \(U\+200B at position 2\)"),
        ("A\u200dda", r"must not contain an invisible character \(U\+200D at position 2\)"),
        ("é\u200d", r"must not contain an invisible character \(U\+200D at position 2\)"),
        ("\u200dé", r"must not contain an invisible character \(U\+200D at position 1\)"),
        ("é\u200d\u200dé", r"must not contain an invisible character \(U\+200D at position 2\)"),
        ("\ufeffAda", r"must not contain an invisible character \(U\+FEFF at position 1\)"),
        ("\u3164", r"must not contain an invisible character \(U\+3164 at position 1\)"),
        ("A\ufffeda", r"must not contain a noncharacter code point \(U\+FFFE at position 2\)"),
        ("A\ufdd0da", r"must not contain a noncharacter code point \(U\+FDD0 at position 2\)"),
        ("Ada\U0010ffff", r"must not contain a noncharacter code point \(U\+10FFFF at position 4\)"),
    ],
)
def test_what_does_not_show_what_it_is_is_refused(name: str, wrong: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^source_name {wrong}") as caught:
        check_name("source_name", name)
    assert caught.value.metadata["field"] == "source_name"


@pytest.mark.parametrize(
    "name",
    ["Ada", "Ada Lovelace", "a'b\"c\\d%", "Zoë", "e\u0301", "アダ", "עדה", "می\u200cخواهم", "👩🏽\u200d💻", "❤\ufe0f"],
)
def test_what_people_call_things_is_taken(name: str) -> None:
    check_name("name", name)
