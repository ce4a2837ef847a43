from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memgpt.memory.v1.agent_state_service_pb2 import ListTurnsRequest
from memgpt.memory.v1.source_service_pb2 import ListFilesRequest, ListSourcesRequest
from memgpt_runtime import context
from memgpt_runtime.errors import InvalidArgument, Reason
from memgpt_runtime.pagination import PageTokenCodec, normalize_page_size
from memgpt_runtime.principal import Principal

CODEC = PageTokenCodec(b"k" * 32)
REQUEST = ListTurnsRequest(agent_id="agent_1", page_size=5)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def _refused(request: Any, token: str, codec: PageTokenCodec = CODEC) -> None:
    with pytest.raises(InvalidArgument) as caught:
        codec.decode(request, token)
    assert caught.value.reason == Reason.INVALID_PAGE_TOKEN
    assert [violation.field for violation in caught.value.violations] == ["page_token"]


@given(payload=st.dictionaries(st.text(max_size=9), JSON, max_size=4))
def test_round_trip(payload: dict[str, Any]) -> None:
    token = CODEC.encode(REQUEST, payload)
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert CODEC.decode(REQUEST, token) == payload


def test_first_page_has_no_token() -> None:
    assert CODEC.decode(REQUEST, "") is None


def test_page_size_and_the_token_itself_may_change() -> None:
    token = CODEC.encode(REQUEST, {"after": 3})
    assert CODEC.decode(ListTurnsRequest(agent_id="agent_1", page_size=9, page_token=token), token) == {"after": 3}


def test_other_requests_keys_and_tenants_are_refused() -> None:
    token = CODEC.encode(REQUEST, {"after": 3})
    _refused(ListTurnsRequest(agent_id="agent_2"), token)
    _refused(REQUEST, token, PageTokenCodec(b"x" * 32))
    with context.background("test", principal=Principal("other")):
        _refused(REQUEST, token)
    # Another kind of request whose fields happen to be the same bytes.
    assert (
        ListFilesRequest(source_id="agent_1").SerializeToString()
        == ListTurnsRequest(agent_id="agent_1").SerializeToString()
    )
    _refused(ListFilesRequest(source_id="agent_1"), token)
    assert CODEC.decode(ListSourcesRequest(), CODEC.encode(ListSourcesRequest(), {})) == {}


@given(data=st.data())
def test_any_changed_bit_is_refused(data: st.DataObject) -> None:
    raw = bytearray(base64.urlsafe_b64decode(CODEC.encode(REQUEST, {"a": 1, "b": "xyz"}) + "=="))
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    _refused(REQUEST, base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode())


@given(token=st.text(min_size=1))
def test_any_text_is_refused(token: str) -> None:
    _refused(REQUEST, token)


def test_padding_is_not_part_of_a_token_that_is_too_long() -> None:
    _refused(REQUEST, "A" * 5000)
    with pytest.raises(ValueError, match="4096"):
        CODEC.encode(REQUEST, {"x": "y" * 4000})


def test_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        PageTokenCodec(b"short")


def test_page_size() -> None:
    assert [normalize_page_size(n) for n in (0, 1, 50, 1000, 1001, 2**31 - 1)] == [50, 1, 50, 1000, 1000, 1000]
    assert normalize_page_size(0, default=5) == 5
    assert normalize_page_size(9, maximum=7) == 7
