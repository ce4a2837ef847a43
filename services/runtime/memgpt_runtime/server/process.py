"""The process of a service: arguments, configuration, signals, exit codes."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from memgpt.config import Config, ConfigError, load_config

from memgpt_runtime import clock, context, ids, logs
from memgpt_runtime.errors import ServiceError
from memgpt_runtime.parent import PARENT_FD, READY_FD, Announcer, take_descriptor
from memgpt_runtime.server.spec import S, ServiceSpec, StartError
from memgpt_runtime.server.start import start
from memgpt_runtime.server.stop_signal import StopSignal

_log = logs.get_logger(__name__)


def run(spec: ServiceSpec[S], argv: list[str] | None = None) -> NoReturn:
    """Run a service until it is stopped, then exit. A user's mistake never shows a traceback."""
    # C-core's own lines on standard error, such as failed connections, are neither JSON nor useful.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Files created from here on are private to this user.
    os.umask(0o077)
    parser = argparse.ArgumentParser(
        prog=f"memgpt-{spec.name}",
        description=f"The {spec.name} service. Settings come from [{spec.name}] and [server] of the configuration "
        f"file and from MEMGPT_{spec.name.upper()}_* and MEMGPT_SERVER_* in the environment.",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration file (~/.memgpt/config.toml)")
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('memgpt-milvus-runtime')}")
    arguments = parser.parse_args(argv)
    try:
        config = load_config(spec.name, spec.settings, path=arguments.config)
        logs.configure(spec.name, level=config.server.log_level, fmt=config.server.log_format)
        if config.server.testing_clock is not None:
            clock.stop(config.server.testing_clock)
            ids.number_from_now_on(spec.name, context.tenant)
        asyncio.run(serve(spec, config))
    except ConfigError as error:
        _print_error(spec.name, error)
        sys.exit(2)
    except (StartError, ServiceError) as error:
        _print_error(spec.name, error)
        sys.exit(1)
    except Exception:  # noqa: BLE001 - the last log line of the process
        _log.critical("server_crashed", exc_info=True)
        sys.exit(1)
    sys.exit(0)


async def serve(spec: ServiceSpec[S], config: Config[S]) -> None:
    """Serve until SIGTERM, SIGINT, or the parent's end.

    Raises:
        ConfigError: A setting is unusable.
        StartError: The address is taken, or the setup failed.
    """
    stop = StopSignal()
    ready_fd, parent_fd = take_descriptor(READY_FD), take_descriptor(PARENT_FD)
    async with AsyncExitStack() as stack:
        announcer = Announcer(ready_fd)
        stack.callback(announcer.close)
        stack.callback(stop.install(parent_fd))
        try:
            server = await start(spec, config, stack, announcer)
            stop.started()
            _tune_collector()
        except asyncio.CancelledError:
            if not stop.requested.is_set():
                raise
            _log.info("stopped_while_starting", cause=stop.cause)
            return
        await stop.requested.wait()
        await server.drain(stop.cause, pause=config.server.drain_pause if stop.pause else 0, hurry=stop.hurry)


def _print_error(name: str, error: Exception) -> None:
    sys.stderr.write(f"memgpt-{name}: {error}\n")


def _tune_collector() -> None:
    """Let Python's cycle collector ignore objects from the start, and run rarely on those that calls leave behind.

    By default it scans every object of the libraries again and again while the server is busy.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
