"""The Memory service's process: it opens the store, chooses the embedding model and adds the servicers."""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import structlog
from memgpt.config import Config, ConfigError, load_config
from memgpt_runtime import reasons
from memgpt_runtime.errors import FailedPrecondition, Unavailable
from memgpt_runtime.server import App

from memgpt_memory.access import FirstKey
from memgpt_memory.config import MemorySettings, ModelSettings
from memgpt_memory.core import Core, CoreSettings, open_core
from memgpt_memory.embedding import (
    Embedder,
    EmbeddingEndpointSettings,
    ModelChoice,
    Models,
    ObservedEmbedder,
    OpenAIEmbedder,
    UnusableFolderError,
    WordLlama,
    load_transformer,
)
from memgpt_memory.metrics import embedding_seconds, milvus_seconds, search_seconds, watch_memory
from memgpt_memory.quotas import Limits
from memgpt_memory.rpc import CHECKS, StoredApiKeys, servicers
from memgpt_memory.store import Store, new_store

_log = structlog.get_logger(__name__)

_RETRY_SECONDS = 1.0


def model_choice(settings: ModelSettings) -> ModelChoice:
    """Return the embedding model that settings name.

    Raises:
        ConfigError: The local transformer that they name cannot be used.
    """
    if settings.kind == "wordllama":
        return ModelChoice(WordLlama.model, WordLlama.dimension, WordLlama)
    if settings.kind == "onnx":
        return _transformer(settings)

    def make() -> Embedder:
        return OpenAIEmbedder(
            EmbeddingEndpointSettings(
                settings.model,
                settings.dimension,
                settings.base_url,
                settings.api_key.get_secret_value(),
                settings.timeout,
                settings.send_dimension,
                settings.batch,
                {name: value.get_secret_value() for name, value in settings.headers.items()},
                {name: value.get_secret_value() for name, value in settings.query.items()},
                settings.keys,
            )
        )

    return ModelChoice(settings.model, settings.dimension, make)


def _transformer(settings: ModelSettings) -> ModelChoice:
    """Load a local transformer: only its files say which model it is."""
    if settings.folder is None:
        raise ConfigError(f"{settings.keys}_folder: not set; name the folder of the model")
    try:
        loaded = load_transformer(
            settings.folder.expanduser(),
            threads=settings.threads,
            query_prefix=settings.query_prefix,
            passage_prefix=settings.passage_prefix,
        )
    except UnusableFolderError as error:
        raise ConfigError(f"{settings.keys}_folder: {error}") from error
    return ModelChoice(loaded.model, loaded.dimension, lambda: loaded)


def reembed_target(config: Config[MemorySettings]) -> Callable[[], ModelChoice | None]:
    """Return a function that reads the model to move to from the configuration file, so that a move needs no restart.

    Only those who can write the file or set the environment decide where texts and keys are sent; no RPC can.
    """

    def read() -> ModelChoice | None:
        settings, file = config.service, config.path or config.home / "config.toml"
        try:
            if file.exists():
                settings = load_config(config.name, MemorySettings, path=file).service
            target = settings.reembed_settings
            return None if target is None else model_choice(target)
        except ConfigError as error:
            _log.warning("configuration_invalid", error=str(error))
            raise reasons.wrong_state(
                "Memory's configuration file is invalid; Memory's log says why",
                resource="configuration",
                state="INVALID",
            ) from error

    return read


class StoreStartup:
    """Opens the store, and retries while Milvus does not respond. In the meantime the server is up, but not ready."""

    def __init__(self, store: Store, models: Models, settings: CoreSettings, first_key: FirstKey | None = None) -> None:
        """Open nothing yet. `first_key` is created when the store was opened, if it has no keys."""
        self._first_key = first_key
        self._settings = settings
        self._store = store
        self._models = models
        self._core: Core | None = None
        self._refusal: FailedPrecondition | None = None

    def core(self) -> Core:
        """Return Memory's parts.

        Raises:
            FailedPrecondition: The store was reached, but cannot be used by this process.
            Unavailable: The store is not open yet, or has been lost to another process.
        """
        if self._refusal is not None:
            raise self._refusal
        if self._core is None:
            raise reasons.store_unavailable("Memory has not reached its store yet; retry", retry_after=2)
        if self._core.lease.lost.is_set():
            raise reasons.store_unavailable("another Memory process has taken over this store")
        return self._core

    def opened(self) -> Core | None:
        """Return Memory's parts, or None until the store is open."""
        return self._core

    async def open(self) -> None:
        """Try once to open the store.

        Raises:
            FailedPrecondition: It cannot be opened: another process holds it, or it does not fit.
            Unavailable: Milvus does not respond.
        """
        if self._core is None:
            core = await open_core(self._store, self._models, self._settings)
            try:
                if self._first_key is not None:
                    await self._first_key.create(core.api_keys)
            except BaseException:
                await core.close()  # or else the next attempt would find the store held
                raise
            self._core = core

    async def open_later(self) -> None:
        """Retry until Milvus responds. If the store then turns out not to fit, every call fails with that error."""
        while True:
            await asyncio.sleep(_RETRY_SECONDS)
            try:
                await self.open()
            except Unavailable:
                continue
            except FailedPrecondition as error:
                _log.critical("store_refused", error=str(error))
                self._refusal = error
                return
            except Exception as error:  # noqa: BLE001 - the next attempt may succeed
                _log.error("store_open_failed", error=f"{type(error).__name__}: {error}")
                continue
            _log.info("store_reached")
            return

    async def check(self) -> None:
        """Check that Memory can work now."""
        self.core()
        await self._store.ping()

    async def close(self) -> None:
        """Close what was opened."""
        if self._core is not None:
            await self._core.close()
        await self._store.close()
        await self._models.close()


def _quieten_lite() -> None:
    """Keep Milvus Lite, which runs in this process, from filling the log.

    pymilvus makes calls that Lite does not implement, and works without them; Lite's server logs each as an error.
    """
    for name, level in (
        ("grpc._server", logging.CRITICAL),
        ("milvus_lite", logging.WARNING),
        ("faiss", logging.WARNING),
    ):
        logging.getLogger(name).setLevel(level)


def _allow_open_files() -> None:
    """Raise the limit of open files to the most that the system allows: a search index keeps many mapped."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # macOS allows fewer than it reports
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@asynccontextmanager
async def setup(app: App[MemorySettings]) -> AsyncIterator[None]:
    """Open the store and add the servicers."""
    settings = app.config.service
    _quieten_lite()
    _allow_open_files()
    models = Models(
        model_choice(settings.embedding_settings),
        reembed_target(app.config),
        partial(ObservedEmbedder, observe=embedding_seconds(app.metrics)),
    )
    uri = str(settings.lite_file(app.config.home) or settings.uri)
    store = new_store(
        uri,
        token=settings.token.get_secret_value(),
        timeout=settings.timeout,
        sync=settings.sync,
        sync_seconds=settings.sync_seconds,
        observe=milvus_seconds(app.metrics),
    )
    first_key = FirstKey(settings.first_key_file) if app.authenticator.required else None
    limits = Limits(**settings.limits)
    parts = CoreSettings(settings.lease_seconds, settings.max_concurrent_searches, limits, search_seconds(app.metrics))
    opening = StoreStartup(store, models, parts, first_key)
    watch_memory(app.metrics, store, opening.opened)
    later: asyncio.Task[None] | None = None
    try:
        try:
            await opening.open()
        except Unavailable as error:
            _log.warning("store_unreachable", error=str(error), uri=uri)
            later = asyncio.create_task(opening.open_later())
        app.authenticator.check_api_keys_by(StoredApiKeys(opening.core))
        app.add_checks(CHECKS)
        for add, servicer in servicers(opening.core):
            app.add_servicer(add, servicer)
        app.readiness.watch("milvus", opening.check)
        yield
    finally:
        if later is not None:
            later.cancel()
            await asyncio.gather(later, return_exceptions=True)
        await opening.close()
