"""The definition of a service, and the argument of its setup."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message
from memgpt.common.v1.permission_pb2 import Permission
from memgpt.config import Config, ServiceSection

from memgpt_runtime.auth.authenticator import Authenticator
from memgpt_runtime.health import Readiness
from memgpt_runtime.metrics import ServerMetrics
from memgpt_runtime.validation import Check

S = TypeVar("S", bound=ServiceSection)


class StartError(Exception):
    """The server cannot start. The message, one line, says why and what to do.

    Setups may raise it too, or a `ServiceError`.
    """


@dataclass
class App(Generic[S]):
    """The argument of a service's setup: its settings, and where to register its parts.

    Attributes:
        config: The settings; `config.service` is the service's own section.
        readiness: Conditions that must hold for the server to be ready.
        metrics: The server's metrics; `metrics.registry` takes further ones.
        stopping: Set when the drain begins, so that long streams can end gracefully.
        authenticator: Knows the callers; the setup tells it by which source to check API keys.
    """

    config: Config[S]
    readiness: Readiness
    metrics: ServerMetrics
    stopping: asyncio.Event
    authenticator: Authenticator
    _registrar: Any
    _checks: dict[type[Message], Check]

    def add_servicer(self, add: Callable[[Any, Any], None], servicer: object) -> None:
        """Add a servicer by its generated ``add_…Servicer_to_server``."""
        add(servicer, self._registrar)

    def add_checks(self, checks: Mapping[type[Message], Check]) -> None:
        """Add checks of requests, by their type, that constraints cannot express."""
        self._checks.update(checks)


Setup = Callable[[App[S]], AbstractAsyncContextManager[None]]
"""Opens a service's resources, adds its servicers and yields; closes the resources after the drain."""


@dataclass(frozen=True)
class ServiceSpec(Generic[S]):
    """The definition of a service.

    Attributes:
        name: Its section in the configuration and its name in logs, such as ``memory``.
        settings: Model of its section.
        setup: Opens its resources inside the event loop, and adds its servicers.
        trust_principal: Whether callers may name the principal of a call where no credentials are required: only if
            the suite's own services are the only callers. Where they are required, services may do so everywhere.
        deadlines: Seconds by full method name, for methods that need other defaults; None for no limit.
        unlimited: Full names of methods that do not count against ``max_concurrent_streams``, because they mostly wait
            and something else bounds them.
        keep_alive: Message by full method name that a silent stream sends every ``keep_alive_seconds``.
        permissions: Permission of all methods of a service that is not in the suite's contracts, by its full name.
    """

    name: str
    settings: type[S]
    setup: Setup[S]
    trust_principal: bool = False
    deadlines: Mapping[str, float | None] = field(default_factory=dict)
    unlimited: frozenset[str] = frozenset()
    keep_alive: Mapping[str, Message] = field(default_factory=dict)
    permissions: Mapping[str, Permission.ValueType] = field(default_factory=dict)
