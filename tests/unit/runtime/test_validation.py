from __future__ import annotations

from typing import Any

import pytest
from google.rpc import error_details_pb2
from memgpt.memory.v1 import agent_state_service_pb2 as pb
from memgpt.memory.v1 import profile_service_pb2, shared_block_service_pb2
from memgpt.memory.v1.block_pb2 import BlockEdit
from memgpt.memory.v1.block_service_pb2 import SetBlockRequest
from memgpt_runtime import reasons
from memgpt_runtime.errors import FieldViolation, InvalidArgument, Reason
from memgpt_runtime.status import to_status
from memgpt_runtime.validation import Problems, Validator, validate


def _fields(message: Any) -> list[str]:
    with pytest.raises(InvalidArgument) as caught:
        validate(message)
    assert caught.value.reason == Reason.INVALID_FIELD
    assert all(violation.description for violation in caught.value.violations)
    return [violation.field for violation in caught.value.violations]


def test_good_request_passes() -> None:
    validate(pb.GetAgentRequest(agent_id="agent_1"))


def test_every_bad_field_is_named() -> None:
    assert _fields(pb.CreateAgentRequest(name="", context_window=-1)) == ["name", "context_window"]


def test_path_of_a_nested_field() -> None:
    request = pb.CommitStepRequest(agent_id="agent_1", step=1, notes=["fine", ""])
    assert set(_fields(request)) == {"lease", "notes[1]"}


def test_required_oneof() -> None:
    assert _fields(pb.GetAgentRequest()) == ["key"]


def test_message_for_people_names_field_and_problem() -> None:
    with pytest.raises(InvalidArgument, match=r"^agent_id: "):
        validate(pb.DeleteAgentRequest(agent_id="no id!"))


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (pb.DeleteAgentRequest(), "agent_id: must not be empty"),
        (pb.GetAgentRequest(name=""), "name: must not be empty"),
        (profile_service_pb2.ListProfilesRequest(), "kind: must be set"),
    ],
)
def test_what_was_left_out_is_asked_for(message: Any, text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        validate(message)
    assert caught.value.message == text


def test_a_field_that_breaks_several_rules_is_named_once() -> None:
    def attach(label: str) -> Any:
        return shared_block_service_pb2.AttachBlockRequest(agent_id="agent_1", block_id="block_1", label=label)

    with pytest.raises(InvalidArgument) as empty:
        validate(attach(""))
    assert empty.value.message == "label: must not be empty"
    with pytest.raises(InvalidArgument) as both:
        validate(attach("1" * 65))
    assert both.value.message.count("label") == len(both.value.violations) == 1
    assert "64" in both.value.message
    assert "match" in both.value.message


def _over_limit() -> None:
    raise reasons.block_limit_exceeded("too long", field="value", label="human", limit=1, length=2)


def test_one_problem_keeps_its_reason() -> None:
    problems = Problems()
    problems.check(_over_limit)
    problems.check(lambda: None)
    with pytest.raises(InvalidArgument) as caught:
        problems.end()
    assert caught.value.reason == Reason.BLOCK_LIMIT_EXCEEDED


def test_several_problems_are_named_together() -> None:
    def check(_: Any, problems: Problems) -> None:
        problems.check(_over_limit)
        problems.add("label must be nicer", field="block.label")

    request = SetBlockRequest(agent_id="no id?", block=BlockEdit(label="1"))
    with pytest.raises(InvalidArgument) as caught:
        Validator({SetBlockRequest: check})(request)
    assert caught.value.reason == Reason.INVALID_FIELD
    assert [violation.field for violation in caught.value.violations] == ["agent_id", "block.label", "value"]
    assert "nicer" not in caught.value.message, "a constraint says what is wrong with this field"


def test_an_error_names_many_fields() -> None:
    fields = [f"messages[{number}].call_id" for number in range(24)]
    error = reasons.invalid_fields("many", [FieldViolation(field, "x" * 100) for field in fields])
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in to_status(error).details)
    assert [violation.field for violation in bad.field_violations] == fields
    assert bad.ByteSize() < 1400
