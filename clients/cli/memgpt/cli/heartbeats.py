"""`memgpt heartbeats`: times at which an agent wakes without a message."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from memgpt.agent.v1.heartbeat_pb2 import Heartbeat, HeartbeatLimits
from memgpt.cli.access.times import parse_duration, parse_expiry
from memgpt.cli.errors import MISUSE, CliError
from memgpt.cli.resources import DEFAULT, Columns, OutputFormat, write
from memgpt.cli.terminal.table import Column
from memgpt.cli.terminal.ui import Ui, plural
from memgpt.client import MemGPT


def heartbeat(every: str, cron: str, at: str, reason: str) -> Heartbeat:
    """Return a heartbeat as the flags describe it.

    Raises:
        CliError: Not exactly one time is given, or it is not valid.
    """
    if sum(map(bool, (every, cron, at))) != 1:
        raise CliError('give one of --every 12h, --cron "0 9 * * *", and --at 2027-01-31T12:00Z', MISUSE)
    if every:
        interval = Duration()
        interval.FromTimedelta(parse_duration(every))
        return Heartbeat(interval=interval, reason=reason)
    if cron:
        return Heartbeat(cron=cron, reason=reason)
    time = Timestamp()
    time.FromDatetime(parse_expiry(at, datetime.now(UTC)))
    return Heartbeat(at=time, reason=reason)


def schedule(ui: Ui, memgpt: MemGPT, agent_name: str, wanted: Heartbeat) -> None:
    """Schedule a heartbeat of an agent."""
    agent = memgpt.agents.find(agent_name)
    stored = memgpt.agents.set_heartbeat(agent.agent_id, wanted)
    ui.line(f"Agent {agent.name} wakes {_when(stored)}, next at {_time(stored.next_time)}.", "green")
    ui.note(f"To cancel it: `memgpt heartbeats cancel {stored.heartbeat_id} --agent {agent.name}`")


def show(ui: Ui, memgpt: MemGPT, agent_name: str, shape: OutputFormat = DEFAULT) -> None:
    """List the heartbeats of an agent, its limits, and until when they are paused."""
    agent = memgpt.agents.find(agent_name)
    planned = memgpt.agents.heartbeats(agent.agent_id)
    items = (
        (
            one,
            [
                one.heartbeat_id,
                _when(one),
                _time(one.next_time) if one.HasField("next_time") else "",
                _time(one.last_time) if one.HasField("last_time") else "",
                "the agent" if one.by_agent else "you",
                one.reason,
            ],
        )
        for one in planned.heartbeats
    )
    columns: Columns = [
        "Id",
        "When",
        Column("Next", priority=4),
        Column("Last", priority=1),
        Column("Set by", priority=2),
        Column("Reason", whole=False, priority=3),
    ]
    write(ui, shape, columns, items, f"Agent {agent.name} has no heartbeats; `memgpt heartbeats schedule` sets one.")
    if shape.json or not ui.terminal:
        return
    ui.note(f"Limits: {_limits(planned.limits)}.")
    if planned.HasField("paused_until"):
        ui.note(f"The agent has paused its heartbeats until {_time(planned.paused_until)}.")


def cancel(ui: Ui, memgpt: MemGPT, agent_name: str, heartbeat_id: str) -> None:
    """Cancel a heartbeat of an agent."""
    agent = memgpt.agents.find(agent_name)
    known = memgpt.agents.heartbeats(agent.agent_id).heartbeats
    found = next((one for one in known if one.heartbeat_id == heartbeat_id), None)
    if found is None:
        raise CliError(
            f'agent "{agent.name}" has no heartbeat "{heartbeat_id}"; `memgpt heartbeats list` lists its heartbeats'
        )
    memgpt.agents.cancel_heartbeat(agent.agent_id, heartbeat_id)
    ui.line(f"Agent {agent.name} no longer wakes {_when(found)}.", "green")


def limit(
    ui: Ui, memgpt: MemGPT, agent_name: str, turns: int | None, tokens: int | None, self_scheduled: bool | None
) -> None:
    """Change the given limits of an agent's heartbeats; None keeps one."""
    agent = memgpt.agents.find(agent_name)
    limits = memgpt.agents.heartbeats(agent.agent_id).limits
    if turns is not None:
        limits.max_turns_per_day = turns
    if tokens is not None:
        limits.max_tokens_per_day = tokens
    if self_scheduled is not None:
        limits.self_scheduled = self_scheduled
    stored = memgpt.agents.set_heartbeat_limits(agent.agent_id, limits)
    ui.line(f"Limits of agent {agent.name}: {_limits(stored)}.", "green")


def _limits(limits: HeartbeatLimits) -> str:
    tokens = plural(limits.max_tokens_per_day, "token") if limits.max_tokens_per_day else "any number of tokens"
    own = "sets its own heartbeats too" if limits.self_scheduled else "sets no heartbeats itself"
    return f"{plural(limits.max_turns_per_day, 'turn')} and {tokens} a day; the agent {own}"


def _when(value: Heartbeat) -> str:
    match value.WhichOneof("when"):
        case "interval":
            return f"every {_span(value.interval)}"
        case "cron":
            return f'by cron "{value.cron}"'
        case _:
            return "once"


def _span(interval: Duration) -> str:
    seconds = interval.seconds
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _time(time: Timestamp) -> str:
    return time.ToDatetime().strftime("%Y-%m-%d %H:%M UTC")
