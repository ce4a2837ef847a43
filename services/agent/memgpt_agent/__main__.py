"""Start the Agent: ``memgpt-agent``, or ``python -m memgpt_agent``."""

from __future__ import annotations

import memgpt_runtime.early_sigterm  # noqa: F401 - first of all

# isort: split

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
from memgpt.agent.v1 import agent_service_pb2_grpc
from memgpt_runtime import clock
from memgpt_runtime.auth.memory_api_keys import MemoryApiKeys
from memgpt_runtime.channel import open_memory_channel
from memgpt_runtime.health_watcher import HealthWatcher
from memgpt_runtime.logs import get_logger
from memgpt_runtime.server import App, ServiceSpec, run
from memgpt_runtime.tls import channel_credentials

from memgpt_agent.config import AgentSettings
from memgpt_agent.context_window.tokens import TokenCalibration, TokenCounter
from memgpt_agent.heartbeats.scheduler import HeartbeatScheduler
from memgpt_agent.loop.turn_loop import TurnLoop
from memgpt_agent.loop.turn_registry import TurnRegistry
from memgpt_agent.memory.client import REPEATABLE
from memgpt_agent.metrics import AgentMetrics, MeteredMemory, MeteredModel
from memgpt_agent.models.offline.model import OfflineModel
from memgpt_agent.models.router import ModelRouter
from memgpt_agent.remote_tools.addresses import AllowedAddresses
from memgpt_agent.remote_tools.client import ToolClient
from memgpt_agent.rpc.checks import CHECKS
from memgpt_agent.rpc.servicer import AgentServicer
from memgpt_agent.traced_model import TracedModel

_log = get_logger(__name__)


@asynccontextmanager
async def setup(app: App[AgentSettings]) -> AsyncIterator[None]:
    """Open the parts of the Agent, and close them after the drain: turns first, then the model, then Memory."""
    settings = app.config.service
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(open_memory_channel(app.config, REPEATABLE))
        app.authenticator.check_api_keys_by(MemoryApiKeys(channel))
        await stack.enter_async_context(HealthWatcher(channel, "memory", app.readiness))
        count, calibration = TokenCounter(settings.counts()), TokenCalibration()
        endpoint = None
        where = settings.endpoint()
        if where is not None:
            from memgpt_agent.models.openai_model import OpenAIModel  # takes a second

            endpoint = OpenAIModel(where, calibration, count)
            stack.push_async_callback(endpoint.close)
        if not settings.model:
            _log.warning("offline_model_used", reason="no chat model is configured", fix="set agent.model")
        else:
            _log.info("chat_model_configured", model=settings.model, mode=settings.mode if endpoint else settings.model)
        metrics = AgentMetrics(app.metrics.registry)
        memory = MeteredMemory(channel, metrics)
        router = ModelRouter(settings.model_name(), OfflineModel(), endpoint)
        model = MeteredModel(TracedModel(router, settings.model_name()), metrics)
        tools = ToolClient(
            AllowedAddresses(settings.tool_addresses), settings.tool_timeout, _tool_credentials(settings)
        )
        stack.push_async_callback(tools.close)
        loop = TurnLoop(memory, model, tools, settings.loop(), count, calibration=calibration, observer=metrics)
        turns = TurnRegistry(loop, metrics)
        metrics.watch_running(lambda: len(turns))
        stack.push_async_callback(turns.close)
        if settings.heartbeat_poll_seconds:
            scheduler = HeartbeatScheduler(memory, turns, settings.heartbeat_poll_seconds, clock.now)
            stack.push_async_callback(_cancel, asyncio.create_task(scheduler.run(), name="heartbeats"))
        servicer = AgentServicer(settings, memory, loop, turns, tools, endpoint)
        app.add_checks(CHECKS)
        app.add_servicer(agent_service_pb2_grpc.add_AgentServiceServicer_to_server, servicer)
        yield


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _tool_credentials(settings: AgentSettings) -> grpc.ChannelCredentials:
    return channel_credentials(
        settings.tool_tls_ca, settings.tool_tls_cert, settings.tool_tls_key, prefix="agent.tool_tls"
    )


def main() -> None:
    """Run the service until it is told to stop."""
    run(ServiceSpec("agent", AgentSettings, setup))


if __name__ == "__main__":
    main()
