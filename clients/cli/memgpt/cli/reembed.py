"""`memgpt reembed`: moves the store and the configuration to another embedding model."""

from __future__ import annotations

from typing import Any

from memgpt.cli.errors import MISUSE, CliError
from memgpt.cli.settings import ClientSettings
from memgpt.cli.setup import answers as files
from memgpt.cli.setup import configure
from memgpt.cli.setup.answers import ONNX, WORDLLAMA, Answers
from memgpt.cli.setup.checks import check_folder
from memgpt.cli.terminal.progress import Bar, Progress
from memgpt.cli.terminal.ui import Ui
from memgpt.client import Store
from memgpt.config import Config, config_path

_NEW, _USED = "reembed", "embedding"
"""Prefixes of the keys of ``[memory]`` for the target model, and for the current one."""
_KEPT = (f"{_USED}_timeout", f"{_USED}_threads")
"""Keys that hold for both models."""


def name_target(ui: Ui, config: Config[ClientSettings], model: str, base_url: str, api_key: str, dimension: int) -> str:
    """Write the target model to the configuration file, from which Memory reads it, and return Memory's name for it.

    Raises:
        CliError: The services do not use this file, or the endpoint does not return a vector.
    """
    _check_local(config)
    chat = files.read_document(config_path()).get("agent", {})
    url = base_url or chat.get("base_url", "")
    key = api_key or (chat.get("api_key", "") if url == chat.get("base_url") else "")
    answers = configure.complete(ui, configure.with_embedding(Answers(), model, url, key, dimension))
    if answers.embedding_model == WORDLLAMA:
        _write_target(ui, {_NEW: WORDLLAMA})
        return ""
    target = {
        _NEW: "openai",
        f"{_NEW}_model": answers.embedding_model,
        f"{_NEW}_dimension": answers.embedding_dimension,
        f"{_NEW}_base_url": answers.embedding_base_url,
        **({f"{_NEW}_api_key": answers.embedding_api_key} if answers.embedding_api_key else {}),
    }
    _write_target(ui, target)
    return answers.embedding_model


def name_folder(ui: Ui, config: Config[ClientSettings], folder: str) -> None:
    """Write a local transformer as the target model to the configuration file.

    Raises:
        CliError: The services do not use this file, or the folder does not hold a model.
    """
    _check_local(config)
    _write_target(ui, {_NEW: ONNX, f"{_NEW}_folder": check_folder(folder)})


def _check_local(config: Config[ClientSettings]) -> None:
    if config.service.agent_address:
        raise CliError(
            "the services run elsewhere; set memory.reembed and the keys that begin so in the configuration of Memory, "
            "then run `memgpt reembed` without a model",
            MISUSE,
        )


def _write_target(ui: Ui, target: dict[str, Any]) -> None:
    path = config_path()
    document = files.read_document(path)
    kept = {name: value for name, value in document.get("memory", {}).items() if not _is_of(_NEW, name)}
    if document:
        files.keep_former(ui, path)
    files.write_document(path, {**document, "memory": kept | target})


def move(ui: Ui, store: Store, expected: str, *, keep_former: bool) -> None:
    """Move the store, show the progress, and make the target model the current one in the configuration file.

    Args:
        ui: The terminal.
        store: The store.
        expected: The target model that Memory must be configured with; empty for any.
        keep_former: Whether to copy the configuration file before changing it.
    """
    with Bar(ui, "Embedding passages", "passage") as bar:
        try:
            for event in store.reembed(expected):
                progress = event.done if event.HasField("done") else event.progress
                bar.show(Progress(progress.passage_count, progress.total_passage_count))
        except KeyboardInterrupt:
            ui.note("`memgpt reembed` continues the move, `memgpt reembed --abandon` gives it up.")
            raise
    ui.line(f"The store now uses the embedding model {progress.embedding_model}", "bold green")
    _settle(ui, progress.embedding_model, keep_former=keep_former)


def abandon(ui: Ui, store: Store) -> None:
    """Cancel a move; the store keeps its model."""
    if not store.cancel_reembed():
        raise CliError("no move to another embedding model is in progress")
    path = config_path()
    document = files.read_document(path)
    kept = {name: value for name, value in document.get("memory", {}).items() if not _is_of(_NEW, name)}
    if "memory" in document and kept != document["memory"]:
        files.write_document(path, {**document, "memory": kept})
    ui.line("Given up; the store keeps its embedding model", "bold green")


def _settle(ui: Ui, model: str, *, keep_former: bool) -> None:
    path = config_path()
    document = files.read_document(path)
    memory: dict[str, Any] = document.get("memory", {})
    target = {name: value for name, value in memory.items() if _is_of(_NEW, name)}
    # Memory names these models itself; for an endpoint the names must be the same.
    local = target.get(_NEW) == ONNX or (target.get(_NEW) == WORDLLAMA and model.startswith(WORDLLAMA))
    if not local and (target.get(_NEW) != "openai" or target.get(f"{_NEW}_model") != model):
        ui.note(
            "Set memory.embedding and the keys that begin so in the configuration of Memory to what memory.reembed has"
        )
        return
    kept = {
        name: value
        for name, value in memory.items()
        if not _is_of(_NEW, name) and (not _is_of(_USED, name) or name in _KEPT)
    }
    if keep_former:
        files.keep_former(ui, path)
    kept |= {name.replace(_NEW, _USED, 1): value for name, value in target.items()}
    files.write_document(path, {**document, "memory": kept})
    ui.note(f"The configuration {path} names it as the one to use")


def _is_of(prefix: str, name: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}_")
