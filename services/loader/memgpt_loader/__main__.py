"""The Loader's process: `memgpt-loader`, or `python -m memgpt_loader`."""

from __future__ import annotations

import memgpt_runtime.early_sigterm  # noqa: F401 - first of all

# isort: split

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from memgpt.loader.v1.loader_service_pb2 import KeepAlive, WatchLoadResponse
from memgpt.loader.v1.loader_service_pb2_grpc import add_LoaderServiceServicer_to_server
from memgpt_runtime.auth.memory_api_keys import MemoryApiKeys
from memgpt_runtime.channel import open_memory_channel
from memgpt_runtime.health_watcher import HealthWatcher
from memgpt_runtime.server import App, ServiceSpec, StartError, run

from memgpt_loader import text_recognition
from memgpt_loader.config import LoaderSettings
from memgpt_loader.loads.pipeline import FilePipeline
from memgpt_loader.loads.registry import LoadLimits, LoadRegistry
from memgpt_loader.loads.spool import Spool
from memgpt_loader.memory.client import REPEATABLE, MemoryClient
from memgpt_loader.metrics import export_metrics
from memgpt_loader.parsing.extract import chunker_version
from memgpt_loader.parsing.parser_limits import ParserLimits
from memgpt_loader.parsing.pool import ParserPool
from memgpt_loader.rpc.checks import CHECKS
from memgpt_loader.rpc.servicer import LoaderServicer


@asynccontextmanager
async def setup(app: App[LoaderSettings]) -> AsyncIterator[None]:
    """Assemble the Loader."""
    settings = app.config.service
    if settings.ocr_languages:
        try:
            text_recognition.check(settings.ocr_languages)
        except text_recognition.RecognitionUnavailable as error:
            raise StartError(f"loader.ocr_languages is set, but {error}") from error
    spool_dir = (settings.spool_dir or app.config.home / "spool").expanduser()
    try:
        spool = await asyncio.to_thread(Spool, spool_dir, settings.spool_bytes)
    except OSError as error:
        why = (error.strerror or "refused").lower()
        raise StartError(f"cannot write to {spool_dir}: {why}; choose another folder with loader.spool_dir") from error
    try:
        pool = ParserPool(
            ParserLimits(
                processes=settings.parser_processes,
                memory_bytes=settings.parser_memory_bytes,
                seconds=settings.parser_seconds,
                max_pages=settings.max_pages,
                max_chars=settings.max_chars,
                max_unpacked_bytes=settings.max_unpacked_bytes,
                max_tokens=settings.passage_tokens,
                overlap_tokens=settings.passage_overlap,
                ocr_languages=settings.ocr_languages,
            )
        )
        async with open_memory_channel(app.config, REPEATABLE) as channel:
            app.authenticator.check_api_keys_by(MemoryApiKeys(channel))
            memory = MemoryClient(channel)
            version = chunker_version(settings.passage_tokens, settings.passage_overlap, settings.ocr_languages)
            pipeline = FilePipeline(
                pool,
                memory,
                version,
                retry_seconds=settings.store_retry_seconds,
                rate_limit_seconds=settings.rate_limit_seconds,
            )
            limits = LoadLimits(
                max_file_bytes=settings.max_file_bytes,
                seconds_per_mib=settings.upload_pause_seconds,
                idle_seconds=settings.idle_seconds,
            )
            loads = LoadRegistry(memory, pool, pipeline, spool, limits)
            export_metrics(app.metrics, loads.stats, pool)
            stopping = asyncio.create_task(_stop_watches(app.stopping, loads))
            try:
                app.add_checks(CHECKS)
                app.add_servicer(
                    add_LoaderServiceServicer_to_server, LoaderServicer(loads, ocr=bool(settings.ocr_languages))
                )
                async with HealthWatcher(channel, "memory", app.readiness):
                    yield
            finally:
                stopping.cancel()
                await loads.close()
                await pool.close()
    finally:
        await asyncio.to_thread(spool.close)


async def _stop_watches(stopping: asyncio.Event, loads: LoadRegistry) -> None:
    await stopping.wait()
    loads.stop_watches()


def main() -> None:
    """Run the Loader until it receives a signal to stop."""
    # A watch lasts as long as its load; an upload waits for room, and has a limit for each MiB.
    streams = ("WatchLoad", "UploadFile")
    deadlines = dict.fromkeys(f"/memgpt.loader.v1.LoaderService/{stream}" for stream in streams)
    keep_alive = WatchLoadResponse(keep_alive=KeepAlive())
    run(
        ServiceSpec(
            "loader",
            LoaderSettings,
            setup,
            deadlines=deadlines,
            keep_alive={"/memgpt.loader.v1.LoaderService/WatchLoad": keep_alive},
        )
    )


if __name__ == "__main__":
    main()
