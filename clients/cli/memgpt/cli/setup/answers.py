"""What the services are to use, and the configuration file that says so."""

from __future__ import annotations

import os
import shutil
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w
from memgpt.cli.terminal.ui import Ui
from memgpt.config import ConfigError, home_dir

OFFLINE = "offline"
OPENAI = "openai"
COMPATIBLE = "openai-compatible"
WORDLLAMA = "wordllama"


@dataclass(frozen=True, slots=True)
class Answers:
    """What the services are to use.

    Attributes:
        model: The chat model; `offline` for the one that is built in.
        base_url: Its endpoint; empty for OpenAI's own.
        api_key: Its key; empty where there is none.
        mode: How functions are called: `auto`, `tools` or `json_schema`.
        context_window: Its window in tokens; 0 for the service's default.
        embedding_model: The embedding model; `wordllama` for the bundled one.
        embedding_base_url: Its endpoint; empty for OpenAI's own.
        embedding_api_key: Its key.
        embedding_dimension: Dimensions of its vectors.
        milvus_uri: A file for Milvus Lite, or a server's URI.
    """

    model: str = OFFLINE
    base_url: str = ""
    api_key: str = field(default="", repr=False)
    mode: str = "auto"
    context_window: int = 0
    embedding_model: str = WORDLLAMA
    embedding_base_url: str = ""
    embedding_api_key: str = field(default="", repr=False)
    embedding_dimension: int = 0
    milvus_uri: str = ""


def default_uri() -> str:
    """The Milvus Lite file in the suite's folder, written with `~` where that is shorter."""
    path = home_dir() / "milvus.db"
    try:
        return f"~/{path.relative_to(Path.home()).as_posix()}"
    except ValueError:
        return str(path)


def document(old: dict[str, Any], answers: Answers) -> dict[str, Any]:
    """Return the content of the configuration file: the answers, and the other settings that it had."""
    agent = {
        "model": answers.model,
        "base_url": answers.base_url,
        "api_key": answers.api_key,
        "mode": answers.mode if answers.model != OFFLINE else "",
        "context_window": answers.context_window,
    }
    bundled = answers.embedding_model == WORDLLAMA
    memory = {
        "uri": answers.milvus_uri or default_uri(),
        "embedding": WORDLLAMA if bundled else "openai",
        "embedding_model": "" if bundled else answers.embedding_model,
        "embedding_dimension": 0 if bundled else answers.embedding_dimension,
        "embedding_base_url": "" if bundled else answers.embedding_base_url,
        "embedding_api_key": "" if bundled else answers.embedding_api_key,
    }
    new = dict(old)
    for section, values in (("agent", agent), ("memory", memory)):
        # What is empty here is left to the service's default, also when an earlier answer had set it.
        kept = {key: value for key, value in old.get(section, {}).items() if key not in values}
        new[section] = kept | {key: value for key, value in values.items() if value}
    return new


def current(document: dict[str, Any]) -> Answers:
    """Return the answers that a configuration file stands for."""
    agent, memory = document.get("agent", {}), document.get("memory", {})
    bundled = memory.get("embedding", WORDLLAMA) == WORDLLAMA
    return Answers(
        model=str(agent.get("model", OFFLINE)),
        base_url=str(agent.get("base_url", "")),
        api_key=str(agent.get("api_key", "")),
        mode=str(agent.get("mode", "auto")),
        context_window=int(agent.get("context_window", 0)),
        embedding_model=WORDLLAMA if bundled else str(memory.get("embedding_model", "")),
        embedding_base_url="" if bundled else str(memory.get("embedding_base_url", "")),
        embedding_api_key="" if bundled else str(memory.get("embedding_api_key", "")),
        embedding_dimension=0 if bundled else int(memory.get("embedding_dimension", 0)),
        milvus_uri=str(memory.get("uri", "")),
    )


def read_document(path: Path) -> dict[str, Any]:
    """Return the file as it is; empty if there is none.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}; correct it, or move it away") from error


def write_document(path: Path, content: dict[str, Any]) -> None:
    """Write the file in one step, readable by its owner only: it may hold keys."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        tomli_w.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def keep_former(ui: Ui, path: Path) -> None:
    """Copy the file before it is changed: its keys and comments are nowhere else."""
    former = path.with_name(f"{path.name}.old")
    shutil.copy2(path, former)
    ui.note(f"The previous configuration is kept in {former}")
