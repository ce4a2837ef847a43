"""`memgpt doctor`: the version and reachability of every dependency, and what to do if one fails."""

from __future__ import annotations

import platform
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from memgpt.cli.endpoint_probe import Endpoint, ProbeError
from memgpt.cli.errors import CliError, explain, explain_system
from memgpt.cli.maintenance import find_losses
from memgpt.cli.services.dependencies import setting
from memgpt.cli.settings import ClientSettings, load_settings
from memgpt.cli.setup.answers import OFFLINE, ONNX, WORDLLAMA
from memgpt.cli.setup.checks import check_folder
from memgpt.cli.setup.versions import SERVICES, version_of, version_of_suite
from memgpt.cli.terminal.ui import Ui
from memgpt.client import MemGPT, ServiceError
from memgpt.config import Config, ConfigError, config_path, home_dir

_LEAST_BYTES = 1024**3


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of checking one dependency.

    Attributes:
        name: Name of the dependency.
        ok: Whether it can be used.
        told: Its version, or the problem.
        remedy: What to do; empty if nothing needs to be done.
    """

    name: str
    ok: bool
    told: str
    remedy: str = ""


def examine(ui: Ui, *, as_json: bool) -> bool:
    """Check all dependencies and show each finding immediately; return whether all are fine."""
    well = True
    for finding in _findings(ui):
        well &= finding.ok
        if as_json:
            ui.json(asdict(finding))
            continue
        ui.line(f"{'✔' if finding.ok else '✘'} {finding.name}: {finding.told}", "" if finding.ok else "red", indent=2)
        if finding.remedy:
            ui.line(f"  → {finding.remedy}", indent=4)
    if not as_json:
        ui.line()
        ui.line("Everything is fine." if well else "Something needs attention; see above.", "bold")
    return well


def _findings(ui: Ui) -> Iterator[Finding]:
    yield Finding("Command line", True, f"version {version_of_suite()}, Python {platform.python_version()}")
    path = config_path()
    try:
        config = load_settings()
    except ConfigError as error:
        yield Finding("Configuration", False, str(error), "correct it, or run `memgpt configure`")
        return
    told = str(path) if path.exists() else f"{path} does not exist; defaults are used"
    yield Finding("Configuration", True, told, "" if path.exists() else "run `memgpt quickstart` or `memgpt configure`")
    yield _disk(home_dir())
    if not config.service.agent_address:
        yield from _installed()
    yield _model(remote=bool(config.service.agent_address))
    yield from _embeddings(remote=bool(config.service.agent_address))
    yield from _services(ui, config)


def _disk(home: Path) -> Finding:
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    told = f"{free / 1024**3:,.1f} GiB free at {place}"
    return Finding(
        "Disk", free >= _LEAST_BYTES, told, "" if free >= _LEAST_BYTES else "free some space, or move MEMGPT_HOME"
    )


def _installed() -> Iterator[Finding]:
    for name in SERVICES:
        distribution = f"memgpt-milvus-{name}"
        version = version_of(distribution)
        if version:
            yield Finding(distribution, True, f"version {version}")
        else:
            yield Finding(
                distribution, False, "not installed", f"run `{Path(sys.executable).name} -m pip install {distribution}`"
            )


def _model(*, remote: bool) -> Finding:
    name, url = setting("agent", "model", OFFLINE) or OFFLINE, setting("agent", "base_url")
    if name == OFFLINE:
        return Finding("Chat model", True, "built in (offline): quotes from memory, does not converse")
    if remote and not url:
        return Finding("Chat model", True, "configured where the Agent runs")
    begin = time.monotonic()
    try:
        served = Endpoint(url or "https://api.openai.com/v1", setting("agent", "api_key")).models()
    except ProbeError as error:
        return Finding("Chat model", False, f"{name}: {error}", "start its server, or run `memgpt configure`")
    took = f"{time.monotonic() - begin:.1f} s"
    if served and name not in served:
        known = ", ".join(served[:5])
        return Finding("Chat model", False, f"{url} does not serve {name}", f"choose one that it serves: {known}")
    return Finding("Chat model", True, f"{name} at {url}, answered in {took}")


def _embeddings(*, remote: bool) -> Iterator[Finding]:
    kind = setting("memory", "embedding", WORDLLAMA)
    if kind == ONNX and not remote:
        yield _local_transformer()
    if kind != "openai":
        return
    name, url = setting("memory", "embedding_model"), setting("memory", "embedding_base_url")
    begin = time.monotonic()
    try:
        size = Endpoint(url or "https://api.openai.com/v1", setting("memory", "embedding_api_key")).embedding_dimension(
            name
        )
    except ProbeError as error:
        yield Finding("Embedding model", False, f"{name}: {error}", "start its server, or run `memgpt configure`")
        return
    yield Finding("Embedding model", True, f"{name}, {size:,} dimensions, answered in {time.monotonic() - begin:.1f} s")


def _local_transformer() -> Finding:
    name = "Embedding model"
    try:
        folder = check_folder(setting("memory", "embedding_folder"))
    except CliError as error:
        return Finding(name, False, error.message, "copy its files there, or run `memgpt configure`")
    if find_spec("onnxruntime") is None:
        program = Path(sys.executable).name
        return Finding(
            name,
            False,
            "onnxruntime is not installed, which reads the model",
            f"run `{program} -m pip install 'memgpt-milvus[onnx]'`",
        )
    return Finding(name, True, f"{folder}, onnxruntime {version_of('onnxruntime')}")


def _services(ui: Ui, config: Config[ClientSettings]) -> Iterator[Finding]:
    from memgpt.cli.services.connect import open_client, services

    with ExitStack() as stack:
        try:
            with ui.busy("Starting the services..."):
                addresses = stack.enter_context(services(config, ui.warning))
            memgpt = stack.enter_context(open_client(config.service, addresses))
        except OSError as error:
            told, _, remedy = explain_system(error).partition("; ")
            yield Finding("Services", False, told, remedy)
            return
        except CliError as error:
            yield Finding("Services", False, error.message, f"see the logs in {config.home / 'logs'}")
            for loss in find_losses(config):
                yield Finding("Store", False, f"lost: {loss}", "restore a backup, or run `memgpt doctor --repair`")
            return
        yield from _answers(memgpt, addresses.agent, addresses.loader, known=bool(addresses.memory))


def _answers(memgpt: MemGPT, agent: str, loader: str, *, known: bool) -> Iterator[Finding]:
    remedy = "start it with `memgpt server`, or correct the address in [client] of the configuration"
    try:
        model = memgpt.agents.model()
        yield Finding("Agent", True, f"{agent}, model {model.model}, embeddings {model.embedding_model}")
    except ServiceError as error:
        yield Finding("Agent", False, f"{agent}: {explain(error)}", remedy)
    try:
        formats = memgpt.loads.formats()
        yield Finding("Loader", True, f"{loader}, reads {len(formats)} formats")
    except ServiceError as error:
        yield Finding("Loader", False, f"{loader}: {explain(error)}", remedy)
    if not known:
        return
    try:
        store = memgpt.store.info()
        search = "similarity and keywords" if store.full_text else "similarity"
        yield Finding("Memory", True, f"{store.backend} {store.backend_version}, ranks by {search}")
    except ServiceError as error:
        yield Finding("Memory", False, explain(error), remedy)
