"""Conversion of a turn's events, and of composed messages, to the protos that clients get."""

from __future__ import annotations

from memgpt.agent.v1 import event_pb2
from memgpt.memory.v1 import message_pb2

from memgpt_agent.domain import Message, Usage
from memgpt_agent.loop import events
from memgpt_agent.memory.memory_protos import ROLES, STATES, usage_proto
from memgpt_agent.models.base import DeltaKind

_DELTA_KINDS = {
    DeltaKind.THOUGHT: event_pb2.DELTA_KIND_THOUGHT,
    DeltaKind.MESSAGE: event_pb2.DELTA_KIND_MESSAGE,
}


def composed_message(value: Message) -> message_pb2.Message:
    """Convert a message that is not stored: the system message, or the summary."""
    return message_pb2.Message(role=ROLES[value.role], text=value.text, sequence=value.sequence)


def event(value: events.Event) -> event_pb2.TurnEvent:
    """Convert an event of a turn."""
    proto = event_pb2.TurnEvent(sequence=value.sequence, step=value.step)
    match value.body:
        case events.Started(turn_id):  # the servicer, which knows the request, adds its id
            proto.started.CopyFrom(event_pb2.Started(turn_id=turn_id))
        case events.Queued(ahead):
            proto.queued.CopyFrom(event_pb2.Queued(ahead=ahead))
        case events.ModelCalled(prompt_tokens):
            proto.model_call.CopyFrom(event_pb2.ModelCalled(prompt_tokens=prompt_tokens))
        case events.Thought(text):
            proto.thought.CopyFrom(event_pb2.Thought(text=text))
        case events.FunctionCalled(call_id, name, arguments):
            proto.function_call.CopyFrom(event_pb2.FunctionCalled(call_id=call_id, name=name, arguments=arguments))
        case events.FunctionResult(call_id, name, ok, text):
            proto.function_result.CopyFrom(event_pb2.FunctionResult(call_id=call_id, name=name, ok=ok, text=text))
        case events.AssistantMessage(text):
            proto.message.CopyFrom(event_pb2.AssistantMessage(text=text))
        case events.Notice(text):
            proto.notice.CopyFrom(event_pb2.Notice(text=text))
        case events.Delta(kind, attempt, index, text):
            proto.delta.CopyFrom(event_pb2.Delta(kind=_DELTA_KINDS[kind], attempt=attempt, index=index, text=text))
        case events.StepRestarted(attempt, reason):
            proto.step_restarted.CopyFrom(event_pb2.StepRestarted(attempt=attempt, reason=reason))
        case events.KeepAlive():
            proto.keep_alive.SetInParent()
        case events.Done(state, reason, steps, used):
            done = event_pb2.Done(state=STATES[state], reason=reason, steps=steps, usage=usage_proto(used))
            proto.done.CopyFrom(done)
        case Usage() as used:
            proto.usage.CopyFrom(usage_proto(used))
    return proto
