"""The schedule of an agent's timed heartbeats: when each is due, how far it has been run, and what limits it.

Times are POSIX seconds. A plan is a value: Memory keeps it as a text, and every change writes the whole of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo

from cronsim import CronSim, CronSimError
from pydantic import BaseModel, ConfigDict, ValidationError

MAX_HEARTBEATS = 32
MAX_REASON_CHARACTERS = 500
MAX_PLAN_BYTES = 16 * 1024
DEFAULT_TURNS_PER_DAY = 24
SHORTEST_INTERVAL, LONGEST_INTERVAL = 1.0, 366 * 24 * 3600.0

_DAY = 24 * 3600
_LATEST = 253_370_764_800
"""The end of the year 9998: later times cannot be represented in every time zone."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class PlanError(ValueError):
    """A change that the plan does not allow. The message says what is wrong."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Heartbeat(_Value):
    """One timed heartbeat. Exactly one of ``interval``, ``cron`` and ``at`` is set.

    Attributes:
        heartbeat_id: Identity within the agent.
        interval: Seconds from one time to the next, counted from ``created``.
        cron: Cron expression of five fields, in the agent's time zone.
        at: The time of a heartbeat that comes only once.
        reason: What it is for.
        created: When it was set; its first time comes later.
        last: The last time that was run or skipped; 0 if there was none.
        last_offset: Seconds from UTC to the agent's local time at ``last``; None if it is not known.
        by_agent: Whether the agent set it itself.
    """

    heartbeat_id: str
    interval: float = 0
    cron: str = ""
    at: float = 0
    reason: str = ""
    created: float = 0
    last: float = 0
    last_offset: float | None = None
    by_agent: bool = False

    @property
    def repeats(self) -> bool:
        """Whether it comes more than once."""
        return not self.at

    def due(self, now: float, zone: tzinfo) -> float | None:
        """Return the latest time up to ``now`` that was not run yet; None if there is none.

        After the clock was set back, ``created`` and ``last`` can lie in the future: they are ignored then, which at
        most repeats a time whose turn has ended already.
        """
        after = max(time for time in (0.0, self.created, self.last) if time <= now)
        if self.at:
            return self.at if self.at <= now and not self.last else None
        if self.interval:
            latest = self.created + (now - self.created) // self.interval * self.interval
        else:
            # Backwards from a second later, since the search excludes the moment at which it begins. The second is
            # added before the conversion: local arithmetic loses the fold of an hour that comes twice.
            begin = _moment(math.floor(now) + 1, zone)
            latest = next(CronSim(self.cron, begin, reverse=True)).timestamp()
        return latest if after < latest <= now and not self._repeated(latest, now, zone) else None

    def _repeated(self, time: float, now: float, zone: tzinfo) -> bool:
        """Whether a change of the time zone repeats a time of day of a cron heartbeat that was run on the same day.

        As with changes of the clock, only for expressions that name times of day: the others come at intervals.
        """
        if not self.cron or self.last_offset is None or self.last > now:
            return False
        minute, hour = self.cron.split()[:2]
        if minute.startswith("*") or hour.startswith("*"):
            return False
        return time + _offset(time, zone) <= self.last + self.last_offset

    def following(self, now: float, zone: tzinfo) -> float | None:
        """Return the next time after ``now``; None if it does not come again."""
        if self.at:
            return self.at if not self.last else None
        if self.interval:
            return self.created + ((now - self.created) // self.interval + 1) * self.interval
        times = (moment.timestamp() for moment in CronSim(self.cron, _moment(now, zone)))
        # In an hour that comes twice, the first one is the earlier hour's.
        return next((time for time in times if time > now), None)


class HeartbeatPlan(_Value):
    """The timed heartbeats of an agent.

    Attributes:
        heartbeats: In the order in which they were set.
        paused_until: End of the pause that the agent asked for; 0 for none.
        self_scheduled: Whether the agent may set heartbeats itself.
        max_turns_per_day: Limit of turns a day, in the agent's time zone.
        max_tokens_per_day: Limit of tokens a day; 0 for none.
    """

    heartbeats: tuple[Heartbeat, ...] = ()
    paused_until: float = 0
    self_scheduled: bool = False
    max_turns_per_day: int = DEFAULT_TURNS_PER_DAY
    max_tokens_per_day: int = 0

    @classmethod
    def parse(cls, text: str) -> HeartbeatPlan:
        """Read a plan; an empty text is the empty plan."""
        return cls.model_validate_json(text) if text else NO_PLAN

    def text(self) -> str:
        """Return the plan as the text that Memory keeps; empty for the empty plan.

        Raises:
            PlanError: The plan is too large.
        """
        text = self.model_dump_json(exclude_defaults=True)
        if len(text.encode()) > MAX_PLAN_BYTES:
            raise PlanError("the timed heartbeats are too long; cancel some, or shorten their reasons")
        return "" if self == NO_PLAN else text

    def with_heartbeat(self, new: Heartbeat) -> HeartbeatPlan:
        """Return the plan with a heartbeat, in place of the one with its id.

        Raises:
            PlanError: There would be too many.
        """
        if not any(one.heartbeat_id == new.heartbeat_id for one in self.heartbeats):
            if len(self.heartbeats) >= MAX_HEARTBEATS:
                raise PlanError(f"an agent has at most {MAX_HEARTBEATS} timed heartbeats; cancel one first")
            return self._with((*self.heartbeats, new))
        return self._with(tuple(new if one.heartbeat_id == new.heartbeat_id else one for one in self.heartbeats))

    def without(self, heartbeat_id: str) -> HeartbeatPlan:
        """Return the plan without a heartbeat."""
        return self._with(tuple(one for one in self.heartbeats if one.heartbeat_id != heartbeat_id))

    def settled(self, run: Heartbeat, time: float, now: float, zone: tzinfo) -> HeartbeatPlan:
        """Return the plan after a time of a heartbeat was run or skipped.

        One that comes only once is removed. One that was set again in the meantime stays as it is.
        """
        kept: list[Heartbeat] = []
        for one in self.heartbeats:
            if (one.heartbeat_id, one.created) != (run.heartbeat_id, run.created) or time <= one.last <= now:
                kept.append(one)
            elif one.repeats:
                kept.append(one.model_copy(update={"last": time, "last_offset": _offset(time, zone)}))
        return self._with(tuple(kept))

    def paused(self, until: float) -> HeartbeatPlan:
        """Return the plan with a pause."""
        return self.model_copy(update={"paused_until": until})

    def due(self, now: float, zone: tzinfo) -> Iterator[tuple[Heartbeat, float]]:
        """Yield each heartbeat that is due, with its time."""
        for one in self.heartbeats:
            if (time := one.due(now, zone)) is not None:
                yield one, time

    def skips(self, heartbeat: Heartbeat, time: float) -> bool:
        """Whether the time of a repeating heartbeat fell into the pause."""
        return heartbeat.repeats and time <= self.paused_until

    def _with(self, heartbeats: tuple[Heartbeat, ...]) -> HeartbeatPlan:
        return self.model_copy(update={"heartbeats": heartbeats})


NO_PLAN = HeartbeatPlan()


def check_cron(expression: str, now: float, zone: tzinfo) -> None:
    """Check a cron expression.

    Raises:
        PlanError: It is not a cron expression, or has no times.
    """
    try:
        if len(expression.split()) != 5:
            raise CronSimError("five fields are needed")
        next(CronSim(expression, _moment(now, zone)))
        next(CronSim(expression, _moment(now, zone), reverse=True))
    except (CronSimError, StopIteration, OverflowError) as error:
        problem = str(error).lower() or "it never comes"
        raise PlanError(
            f'cron expression "{expression}" is not valid: {problem}; write minute, hour, day of month, month and day'
            " of week, such as 0 9 * * 1-5"
        ) from None


def checked(text: str, now: float, zone: tzinfo) -> HeartbeatPlan:
    """Read a plan from outside, such as that of an imported agent.

    Args:
        text: The plan.
        now: The time.
        zone: Time zone of the agent.

    Raises:
        PlanError: It is not a plan that an agent could have.
    """
    try:
        plan = HeartbeatPlan.parse(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "plan"
        raise PlanError(f"the timed heartbeats cannot be read: {where}: {first['msg']}") from None
    if len(plan.heartbeats) > MAX_HEARTBEATS:
        raise PlanError(f"an agent has at most {MAX_HEARTBEATS} timed heartbeats, not {len(plan.heartbeats)}")
    if len({one.heartbeat_id for one in plan.heartbeats}) < len(plan.heartbeats):
        raise PlanError("ids of timed heartbeats must be unique")
    for one in plan.heartbeats:
        _check_heartbeat(one, now, zone)
    if not (0 < plan.max_turns_per_day <= _DAY and 0 <= plan.max_tokens_per_day < 1 << 63):
        raise PlanError(f"limits of timed heartbeats must be from 1 to {_DAY} turns, and not below 0 tokens")
    if not 0 <= plan.paused_until < _LATEST:
        raise PlanError("the pause must end in the years 1970 to 9998")
    plan.text()  # which may be too long
    return plan


def _check_heartbeat(value: Heartbeat, now: float, zone: tzinfo) -> None:
    if not _ID.fullmatch(value.heartbeat_id):
        raise PlanError(f'"{value.heartbeat_id[:80]}" is not the id of a heartbeat: 1 to 64 of A-Z a-z 0-9 _ -')
    if len(value.reason) > MAX_REASON_CHARACTERS:
        raise PlanError(f"heartbeat {value.heartbeat_id}: the reason is over {MAX_REASON_CHARACTERS} characters")
    if sum((value.interval != 0, bool(value.cron), value.at != 0)) != 1:
        raise PlanError(f"heartbeat {value.heartbeat_id} has no time; set interval, cron or at")
    if value.interval and not SHORTEST_INTERVAL <= value.interval <= LONGEST_INTERVAL:
        raise PlanError(f"heartbeat {value.heartbeat_id}: the interval must be from 1 second to 366 days")
    if not all(0 <= time < _LATEST for time in (value.at, value.created, value.last)):
        raise PlanError(f"heartbeat {value.heartbeat_id}: times must be in the years 1970 to 9998")
    if value.last_offset is not None and not -_DAY <= value.last_offset <= _DAY:
        raise PlanError(f"heartbeat {value.heartbeat_id}: the offset from UTC must be less than a day")
    if value.cron:
        check_cron(value.cron, now, zone)


def _moment(time: float, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(time, zone)


def _offset(time: float, zone: tzinfo) -> float:
    """Return the seconds from UTC to local time."""
    return (_moment(time, zone).utcoffset() or timedelta()).total_seconds()
