"""Timed heartbeats: when they are due, that each time runs once, and what holds them back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memgpt_agent import envelopes
from memgpt_agent.domain import Context, PlanEdit, Role, StoredPlan, TurnState
from memgpt_agent.functions import functions_of
from memgpt_agent.heartbeat_plan import (
    MAX_HEARTBEATS,
    NO_PLAN,
    Heartbeat,
    HeartbeatPlan,
    PlanError,
    check_cron,
)
from memgpt_agent.heartbeats.scheduler import REQUEST_PREFIX, HeartbeatScheduler, request_id_of
from memgpt_agent.heartbeats.store import change
from memgpt_agent.loop.turn_registry import TurnRegistry
from memgpt_agent.models.base import Completion, ModelRequest
from memgpt_runtime import context, errors
from memgpt_runtime.errors import Reason

from tests.unit.agent.fakes import NOW, FakeMemory, ScriptedModel, answered, call, make_loop, request, run, say

START = NOW.timestamp()
BERLIN = ZoneInfo("Europe/Berlin")


def every(seconds: float, **more: object) -> Heartbeat:
    return Heartbeat(heartbeat_id="h1", interval=seconds, created=START, **more)  # type: ignore[arg-type]


def once(seconds: float, heartbeat_id: str = "once") -> Heartbeat:
    return Heartbeat(heartbeat_id=heartbeat_id, at=START + seconds, created=START, reason="Water the plants.")


# When they are due.


@given(st.integers(1, 10_000), st.integers(0, 10**7), st.integers(0, 10**7))
def test_an_interval_is_due_at_its_latest_time_only(interval: int, passed: int, more: int) -> None:
    heartbeat, now = every(interval), START + passed
    due = heartbeat.due(now, UTC)
    assert (due is not None) == (passed >= interval)
    if due is not None:
        assert now - interval < due <= now
        assert heartbeat.following(now, UTC) == due + interval
        run_once = heartbeat.model_copy(update={"last": due})
        assert run_once.due(now, UTC) is None
        later = run_once.due(now + more, UTC)
        assert later is None or later > due


def test_cron_goes_by_the_agents_time_zone() -> None:
    heartbeat = Heartbeat(heartbeat_id="h", cron="0 9 * * *", created=START)
    nine = datetime(2024, 5, 2, 9, 0, tzinfo=BERLIN).timestamp()
    assert heartbeat.following(START, BERLIN) == nine
    assert heartbeat.due(nine - 1, BERLIN) is None
    assert heartbeat.due(nine, BERLIN) == heartbeat.due(nine + 3600, BERLIN) == nine
    assert heartbeat.due(nine, UTC) is None


def test_cron_over_a_change_of_the_clock_comes_every_day() -> None:
    zone, created = BERLIN, datetime(2026, 3, 27, tzinfo=BERLIN).timestamp()
    heartbeat = Heartbeat(heartbeat_id="h", cron="30 2 * * *", created=created)
    times = []
    for hour in range(24 * 4):
        due = heartbeat.due(created + hour * 3600, zone)
        if due is not None:
            times.append(datetime.fromtimestamp(due, zone).date())
            heartbeat = heartbeat.model_copy(update={"last": due})
    assert [day.day for day in times] == [27, 28, 29, 30]


@pytest.mark.parametrize(("cron", "times"), [("*/10 * * * *", 30), ("5 * * * *", 5), ("30 2 * * *", 1)])
def test_cron_comes_in_the_hour_that_comes_twice(cron: str, times: int) -> None:
    begin = datetime(2026, 10, 25, tzinfo=BERLIN).timestamp()
    heartbeat, run = Heartbeat(heartbeat_id="h", cron=cron, created=begin), []
    for minute in range(5, 5 * 60 + 5, 5):
        following = heartbeat.following(begin + minute * 60 - 1, BERLIN)
        assert following is not None
        assert following > begin + minute * 60 - 1
        due = heartbeat.due(begin + minute * 60, BERLIN)
        if due is not None:
            run.append(due)
            heartbeat = heartbeat.model_copy(update={"last": due})
    assert len(run) == times
    assert run == sorted(run)


def test_a_clock_that_is_set_back_does_not_silence() -> None:
    day = 24 * 3600
    for heartbeat in (every(60), Heartbeat(heartbeat_id="h", cron="*/5 * * * *", created=START)):
        ahead = heartbeat.model_copy(update={"created": START + day, "last": START + 2 * day})
        plan, now = HeartbeatPlan(heartbeats=(ahead,)), START + 1000
        due = ahead.due(now, UTC)
        assert due is not None
        assert due <= now
        settled = plan.settled(ahead, due, now, UTC)
        assert list(settled.due(now, UTC)) == []
        assert [one.heartbeat_id for one, _ in settled.due(now + 300, UTC)] == [ahead.heartbeat_id]


NEW_YORK, AUCKLAND = ZoneInfo("America/New_York"), ZoneInfo("Pacific/Auckland")


@pytest.mark.parametrize(
    ("cron", "hours"), [("0 9 * * *", 24 + 6), ("0 9,18 * * *", 9 + 6), ("0 * * * *", 1), ("*/30 9-17 * * *", 0.5)]
)
def test_a_change_of_time_zone_repeats_no_time_of_the_day(cron: str, hours: float) -> None:
    nine = datetime(2024, 5, 2, 9, 0, tzinfo=BERLIN).timestamp()
    heartbeat = Heartbeat(heartbeat_id="h", cron=cron, created=START)
    plan = HeartbeatPlan(heartbeats=(heartbeat,)).settled(heartbeat, nine, nine, BERLIN)
    zone = NEW_YORK if "9-17" not in cron else BERLIN
    after = (n / 2 for n in range(1, 100) if list(plan.due(nine + n * 1800, zone)))
    assert next(after) == hours


def test_a_time_zone_further_east_still_gets_its_day() -> None:
    nine = datetime(2024, 5, 2, 9, 0, tzinfo=BERLIN).timestamp()
    heartbeat = Heartbeat(heartbeat_id="h", cron="0 9 * * *", created=START)
    plan = HeartbeatPlan(heartbeats=(heartbeat,)).settled(heartbeat, nine, nine, BERLIN)
    tomorrow = datetime(2024, 5, 3, 9, 0, tzinfo=AUCKLAND).timestamp()
    assert list(plan.due(tomorrow - 1, AUCKLAND)) == []
    assert [time for _, time in plan.due(tomorrow, AUCKLAND)] == [tomorrow]


@pytest.mark.parametrize("bad", ["", "nonsense", "0 9 * *", "61 * * * *", "0 0 30 2 *", "* * * * * *"])
def test_an_expression_that_is_not_one_is_refused(bad: str) -> None:
    with pytest.raises(PlanError, match="cron expression"):
        check_cron(bad, START, UTC)
    check_cron("*/5 8-18 * * 1-5", START, UTC)


def test_a_plan_is_bounded_and_survives_its_text() -> None:
    plan = HeartbeatPlan(self_scheduled=True).with_heartbeat(every(60, reason="看看新闻"))
    assert HeartbeatPlan.parse(plan.text()) == plan
    assert NO_PLAN.text() == ""
    assert HeartbeatPlan.parse("") == NO_PLAN
    full = HeartbeatPlan(heartbeats=tuple(once(n, f"once-{n}") for n in range(MAX_HEARTBEATS)))
    with pytest.raises(PlanError, match="at most 32"):
        full.with_heartbeat(every(60))
    with pytest.raises(PlanError, match="too long"):
        HeartbeatPlan(heartbeats=(every(60, reason="字" * 6000),)).text()


# That they run.


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Replica:
    """A replica of the Agent over a memory."""

    def __init__(self, memory: FakeMemory, model: ScriptedModel, clock: Clock) -> None:
        self.turns = TurnRegistry(make_loop(memory, model))
        self.scheduler = HeartbeatScheduler(memory, self.turns, 1.0, clock)

    async def look(self) -> None:
        await self.scheduler.look()
        await self.scheduler.settle()


def planned(*heartbeats: Heartbeat, **more: object) -> FakeMemory:
    plan = HeartbeatPlan(heartbeats=heartbeats, **more)  # type: ignore[arg-type]
    return FakeMemory(replace(answered(), plan=plan))


def woken(memory: FakeMemory) -> list[str]:
    """Reasons of the heartbeats that the agent got."""
    return [
        str(envelopes.parse(m.text)["reason"])
        for m in memory.history
        if m.role is Role.USER and "scheduled heartbeat" in m.text
    ]


class TenantMemory(FakeMemory):
    """The memory of an agent of another tenant, which notes on whose behalf its plan is written."""

    tenants: tuple[str, ...] = ()

    def _stored_plan(self) -> StoredPlan:
        return replace(super()._stored_plan(), tenant="acme")

    def _write_plan(self, edit: PlanEdit) -> None:
        self.tenants += (context.tenant(),)
        super()._write_plan(edit)


async def test_a_heartbeat_runs_on_behalf_of_the_agents_tenant() -> None:
    memory, clock = TenantMemory(replace(answered(), plan=HeartbeatPlan(heartbeats=(every(60),)))), Clock()

    def reply(_: ModelRequest) -> Completion:
        memory.tenants += (context.tenant(),)
        return say("Here.")

    clock.pass_seconds(60)
    await Replica(memory, ScriptedModel(reply), clock).look()
    assert len(woken(memory)) == 1
    assert memory.tenants == ("acme", "acme"), "the turn, and the plan that it is marked in"
    assert context.tenant() == "default"


async def test_an_agent_whose_plan_cannot_be_read_holds_up_no_other() -> None:
    memory, clock = planned(every(60)), Clock()

    async def plans():
        yield StoredPlan("agent_0", "Atlantis/Capital", memory.context.plan, "")
        yield memory._stored_plan()

    memory.list_plans = plans  # type: ignore[method-assign]
    clock.pass_seconds(60)
    await Replica(memory, ScriptedModel(say("Here.")), clock).look()
    assert len(woken(memory)) == 1


async def test_each_time_is_one_turn_and_the_next_one_follows() -> None:
    memory, clock = planned(every(60, reason="Look at the news.")), Clock()
    replica = Replica(memory, ScriptedModel(say("News!"), repeat=True), clock)
    await replica.look()
    assert woken(memory) == []
    for count in (1, 2, 3):
        clock.pass_seconds(60)
        for _ in range(3):
            await replica.look()
        assert len(woken(memory)) == count
    assert "Look at the news." in woken(memory)[0]
    assert memory.context.plan.heartbeats[0].last == clock.now.timestamp()


async def test_after_downtime_there_is_one_catch_up() -> None:
    memory, clock = planned(every(60)), Clock()
    clock.pass_seconds(60 * 60 + 30)
    replica = Replica(memory, ScriptedModel(say("Here.")), clock)
    await replica.look()
    await replica.look()
    assert len(woken(memory)) == 1


async def test_a_single_one_runs_once_and_is_gone() -> None:
    memory, clock = planned(once(30)), Clock()
    clock.pass_seconds(31)
    replica = Replica(memory, ScriptedModel(call("pause_heartbeats", minutes=0)), clock)
    await replica.look()
    await replica.look()
    assert len(woken(memory)) == 1
    assert "Water the plants." in woken(memory)[0]
    assert memory.context.plan.heartbeats == ()


async def test_two_replicas_run_a_time_once() -> None:
    memory, clock = planned(every(60)), Clock()
    model = ScriptedModel(say("Once."))
    replicas = [Replica(memory, model, clock) for _ in range(2)]
    clock.pass_seconds(61)
    await asyncio.gather(*(replica.look() for replica in replicas))
    await asyncio.gather(*(replica.look() for replica in replicas))
    assert len(woken(memory)) == len(model.requests) == 1


@pytest.mark.parametrize("crash", ["before the mark", "in the turn"])
async def test_a_replica_that_dies_loses_and_repeats_nothing(crash: str) -> None:
    memory, clock = planned(every(60)), Clock()
    clock.pass_seconds(61)
    away = errors.Unavailable(Reason.MODEL_UNAVAILABLE, "away")
    model = ScriptedModel(*([away] if crash == "in the turn" else []), say("Once."))
    put, memory.put_plan = memory.put_plan, unavailable  # type: ignore[method-assign,assignment]
    await Replica(memory, model, clock).look()
    assert memory.context.plan.heartbeats[0].last == 0
    memory.put_plan = put  # type: ignore[method-assign]
    await Replica(memory, model, clock).look()
    assert len(woken(memory)) == 1
    assert [t.state for t in memory.turns.values()] == [TurnState.COMPLETED]
    assert memory.context.plan.heartbeats[0].last == START + 60


async def unavailable(*args: object) -> None:
    raise errors.Unavailable(Reason.SERVICE_UNAVAILABLE, "away")


async def test_while_the_agent_is_busy_times_are_merged() -> None:
    memory, clock = planned(every(60)), Clock()
    begin = memory.begin_turn

    async def busy(*args: object, **more: object):
        raise errors.DeadlineExceeded(Reason.DEADLINE_EXCEEDED, "others are ahead")
        yield

    memory.begin_turn = busy  # type: ignore[method-assign]
    replica = Replica(memory, ScriptedModel(say("At last.")), clock)
    for _ in range(3):
        clock.pass_seconds(60)
        await replica.look()
    assert memory.turns == {}
    memory.begin_turn = begin  # type: ignore[method-assign]
    await replica.look()
    assert list(memory.turns) == [request_id_of("agent_1", "h1", START + 180)]


# What holds them back.


async def test_a_pause_skips_repeating_ones_and_delays_single_ones() -> None:
    memory, clock = planned(every(60), once(90)), Clock()
    pause = call("pause_heartbeats", minutes=5)
    await run(make_loop(memory, ScriptedModel(pause, say("Quiet."))), request("Leave me alone."))
    assert memory.context.plan.paused_until == START + 300
    replica = Replica(memory, ScriptedModel(say("Plants."), say("News.")), clock)
    clock.pass_seconds(200)
    await replica.look()
    assert woken(memory) == []
    clock.pass_seconds(101)
    await replica.look()
    assert len(woken(memory)) == 1
    clock.pass_seconds(60)
    await replica.look()
    assert len(woken(memory)) == 2


async def test_a_daily_budget_of_turns_ends_with_the_day() -> None:
    memory, clock = planned(every(60), max_turns_per_day=2), Clock()
    replica = Replica(memory, ScriptedModel(say("Hi."), repeat=True), clock)
    for _ in range(4):
        clock.pass_seconds(60)
        await replica.look()
    assert len(woken(memory)) == 2
    memory.turns_since = nothing  # type: ignore[method-assign]
    clock.pass_seconds(0.5)  # the day begins on the second
    await replica.look()
    assert len(woken(memory)) == 3


async def nothing(agent_id: str, time: float):
    assert datetime.fromtimestamp(time, UTC) == datetime(2024, 5, 1, tzinfo=UTC)
    return
    yield


async def test_a_daily_budget_of_tokens_bounds_the_turn() -> None:
    memory, clock = planned(every(60), max_tokens_per_day=200), Clock()
    search = call("archival_memory_search", query="x", request_heartbeat=True)
    replica = Replica(memory, ScriptedModel(search, repeat=True), clock)
    for _ in range(3):
        clock.pass_seconds(60)
        await replica.look()
    assert [t.state for t in memory.turns.values()] == [TurnState.STOPPED]
    assert "200 tokens" in next(iter(memory.turns.values())).reason


async def test_a_cancelled_one_does_not_come() -> None:
    memory, clock = planned(every(60)), Clock()
    await change(memory, "agent_1", lambda plan: plan.without("h1"))
    clock.pass_seconds(600)
    await Replica(memory, ScriptedModel(), clock).look()
    assert woken(memory) == []


@pytest.mark.parametrize("change_to", ["absent", "changed", "paused"])
async def test_what_changes_during_another_turn_is_seen(change_to: str) -> None:
    second = Heartbeat(heartbeat_id="h2", interval=60, created=START)
    memory, clock = planned(every(60), second), Clock()

    def reply(asked: object) -> Completion:
        plan, later = memory.context.plan, second.model_copy(update={"created": START + 61})
        changed = {
            "absent": plan.without("h2"),
            "changed": plan.with_heartbeat(later),
            "paused": plan.paused(START + 600),
        }
        memory.context = replace(memory.context, plan=changed[change_to], plan_etag="changed")
        return say("First.")

    clock.pass_seconds(61)
    await Replica(memory, ScriptedModel(reply, say("Second.")), clock).look()
    assert len(woken(memory)) == 1


async def test_a_heartbeat_that_is_set_again_during_its_turn_stays() -> None:
    memory, clock = planned(once(30)), Clock()
    again = once(30).model_copy(update={"at": START + 90, "created": START + 31})

    def reply(asked: object) -> Completion:
        memory.context = replace(memory.context, plan=memory.context.plan.with_heartbeat(again), plan_etag="changed")
        return say("Plants.")

    clock.pass_seconds(31)
    replica = Replica(memory, ScriptedModel(reply, say("Again.")), clock)
    await replica.look()
    assert memory.context.plan.heartbeats == (again,)
    clock.pass_seconds(60)
    await replica.look()
    assert len(woken(memory)) == 2


async def test_a_change_is_made_again_over_another_one() -> None:
    memory = planned(every(60))
    others = iter([True])

    def edit(plan: HeartbeatPlan) -> HeartbeatPlan:
        if next(others, False):
            memory.context = replace(memory.context, plan=plan.with_heartbeat(once(1)), plan_etag="new")
        return plan.without("h1")

    await change(memory, "agent_1", edit)
    assert [one.heartbeat_id for one in memory.context.plan.heartbeats] == ["once"]


# The function.


async def scheduled(memory: FakeMemory, **arguments: object) -> Context:
    asked = call("schedule_heartbeat", reason="Ask about the exam.", request_heartbeat=False, **arguments)  # type: ignore[arg-type]
    await run(make_loop(memory, ScriptedModel(asked, say("I will."), say("I will."))), request("Remind me."))
    return memory.context


@pytest.mark.parametrize(
    ("arguments", "at"),
    [
        ({"minutes": 90}, NOW + timedelta(minutes=90)),
        ({"at": "2024-05-02 09:00"}, datetime(2024, 5, 2, 9, 0, tzinfo=BERLIN)),
    ],
)
async def test_an_agent_sets_its_own(arguments: dict[str, object], at: datetime) -> None:
    plan = HeartbeatPlan(self_scheduled=True)
    memory = FakeMemory(replace(answered(time_zone="Europe/Berlin"), plan=plan))
    set_now = (await scheduled(memory, **arguments)).plan.heartbeats
    assert [(one.at, one.reason, one.by_agent) for one in set_now] == [(at.timestamp(), "Ask about the exam.", True)]


@pytest.mark.parametrize(
    "arguments", [{}, {"minutes": 5, "at": "2024-05-02 09:00"}, {"at": "tomorrow"}, {"at": "2020-01-01 09:00"}]
)
async def test_a_time_that_is_none_is_refused(arguments: dict[str, object]) -> None:
    memory = FakeMemory(replace(answered(), plan=HeartbeatPlan(self_scheduled=True)))
    assert (await scheduled(memory, **arguments)).plan.heartbeats == ()


def test_only_agents_that_may_have_the_function() -> None:
    may = replace(answered(), plan=HeartbeatPlan(self_scheduled=True))

    def names(context: Context) -> set[str]:
        return {function.name for function in functions_of(context)}

    assert names(may) - names(answered()) == {"schedule_heartbeat"}
    assert names(replace(may, brief=True)) == names(may)


def test_ids_of_turns_tell_times_apart() -> None:
    ids = {request_id_of(agent, h, t) for agent in ("a", "b") for h in ("x", "y") for t in (1.0, 1.001)}
    assert len(ids) == 8
    assert all(one.startswith(REQUEST_PREFIX) and len(one) <= 64 for one in ids)
