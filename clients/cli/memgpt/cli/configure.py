"""`memgpt configure` and `quickstart`: the questions, and the file that comes of the answers."""

from __future__ import annotations

import os
import re
import shutil
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tomli_w
from memgpt.cli.errors import MISUSE, CliError
from memgpt.cli.probe import OPENAI_URL, Endpoint, ProbeError
from memgpt.cli.ui import Choice, Ui
from memgpt.config import ConfigError, config_path, home_dir

OFFLINE = "offline"
OPENAI = "openai"
COMPATIBLE = "openai-compatible"
WORDLLAMA = "wordllama"

_OPENAI_MODEL = "gpt-4o-mini"
_OPENAI_WINDOW = 128_000
_LOCAL_URL = "http://localhost:11434/v1"
_LOCAL_WINDOW = 8192
_EMBEDDING_MODEL = "text-embedding-3-small"


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
    """The configuration file's content: the answers over what it had, other settings kept."""
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


def read_document(path: Path) -> dict[str, Any]:
    """The file as it is; empty when there is none. ConfigError when it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}; mend it, or move it away") from error


def write_document(path: Path, content: dict[str, Any]) -> None:
    """Writes the file in one go, for its owner's eyes only: it may hold keys."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        tomli_w.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def keep_former(ui: Ui, path: Path) -> None:
    """Copies the file before it is changed: its keys and comments are nowhere else."""
    former = path.with_name(f"{path.name}.old")
    shutil.copy2(path, former)
    ui.note(f"The former configuration is {former}")


def check_uri(uri: str) -> str:
    """`uri` if Memory will take it."""
    if "://" not in uri and not uri.endswith(".db"):
        raise CliError(
            f"{uri} is neither a file whose name ends in .db nor a URI such as http://localhost:19530", MISUSE
        )
    return uri


def complete(ui: Ui, answers: Answers) -> Answers:
    """Finds out what the endpoints can tell by themselves: the mode of function calls, and the vectors' dimensions.

    A chat endpoint that is not up costs no more than a warning: the mode is found out later.

    Raises:
        CliError: The dimensions are not known.
    """
    if answers.model != OFFLINE and answers.mode == "auto":
        endpoint = Endpoint(answers.base_url or OPENAI_URL, answers.api_key)
        try:
            with ui.busy(f"Asking {endpoint.base_url} how {answers.model} calls functions..."):
                answers = replace(answers, mode=endpoint.mode(answers.model))
            ui.note(f"{answers.model} calls functions in the mode {answers.mode}")
        except ProbeError as error:
            ui.line(f"Warning: {error}; the way of calling functions is found out at the first message", "yellow")
    if answers.embedding_model != WORDLLAMA and not answers.embedding_dimension:
        endpoint = Endpoint(answers.embedding_base_url or OPENAI_URL, answers.embedding_api_key)
        try:
            with ui.busy(f"Asking {endpoint.base_url} for an embedding..."):
                dimension = endpoint.embedding_dimension(answers.embedding_model)
        except ProbeError as error:
            raise CliError(f"{error}; or say --embedding-dimension") from error
        answers = replace(answers, embedding_dimension=dimension)
    return answers


def save(ui: Ui, answers: Answers) -> None:
    """Completes the answers and writes the file."""
    path = config_path()
    old = read_document(path)
    answers = complete(ui, replace(answers, milvus_uri=check_uri(answers.milvus_uri or default_uri())))
    new = document(old, answers)
    if old and new != old:
        keep_former(ui, path)
    write_document(path, new)
    ui.line(f"📖 Saved the configuration to {path}", "bold green")


def from_flags(model: str, base_url: str, api_key: str, mode: str, context_window: int, milvus_uri: str) -> Answers:
    """Answers from the flags of `memgpt configure`; see there."""
    if mode not in ("auto", "tools", "json_schema"):
        raise CliError(f"--mode {mode}: choose auto, tools or json_schema", MISUSE)
    if not model:
        if base_url:
            raise CliError("--model-endpoint needs --model as well: a model that the endpoint serves", MISUSE)
        return Answers(milvus_uri=milvus_uri)
    return Answers(
        model=model,
        base_url=base_url or OPENAI_URL,
        api_key=api_key,
        mode=mode,
        context_window=context_window,
        milvus_uri=milvus_uri,
    )


def with_embedding(answers: Answers, model: str, base_url: str, api_key: str, dimension: int) -> Answers:
    """`answers` with an embedding model at an endpoint, by default the chat model's."""
    if model == WORDLLAMA:
        return answers
    return replace(
        answers,
        embedding_model=model,
        embedding_base_url=base_url or answers.base_url or OPENAI_URL,
        embedding_api_key=api_key,
        embedding_dimension=dimension,
    )


def quick(ui: Ui, base_url: str, model: str, api_key: str) -> Answers:
    """Answers that need no questions: offline, or the first model of an endpoint.

    Raises:
        CliError: The endpoint does not answer, or serves no model.
    """
    if not base_url:
        if model:
            raise CliError("--model needs --openai-compatible as well: the base URL of its endpoint", MISUSE)
        return Answers()
    if not model:
        try:
            with ui.busy(f"Asking {base_url} for its models..."):
                names = Endpoint(base_url, api_key).models()
        except ProbeError as error:
            raise CliError(str(error)) from error
        if not names:
            raise CliError(f"{base_url} serves no model; say --model")
        model = names[0]
    return Answers(model=model, base_url=base_url, api_key=api_key)


def ask(ui: Ui) -> Answers:
    """Asks a person for everything."""
    answers = Answers()
    provider = ui.select(
        "Select LLM inference provider:",
        [
            Choice("offline: built in, no key, no network; quotes from memory, does not converse", OFFLINE),
            Choice("openai", OPENAI),
            Choice("openai-compatible endpoint: Ollama, vLLM, llama.cpp, LM Studio, ...", COMPATIBLE),
        ],
    )
    if provider != OFFLINE:
        answers = _ask_model(ui, provider)
    answers = _ask_embedding(ui, answers)
    ui.select("Select storage backend for archival data:", ["milvus"])
    question = f"Enter the Milvus connection URI (Default: {default_uri()}):"
    while True:
        uri = ui.ask(question, default=default_uri())
        try:
            return replace(answers, milvus_uri=check_uri(uri or default_uri()))
        except CliError as error:
            ui.error(error.message)


def _ask_model(ui: Ui, provider: str) -> Answers:
    if provider == OPENAI:
        key = ui.secret("Enter your OpenAI API key:")
        model = ui.ask("Enter the model:", default=_OPENAI_MODEL)
        window = _ask_number(ui, "Enter the size of its context window in tokens:", _OPENAI_WINDOW)
        return Answers(model=model, base_url=OPENAI_URL, api_key=key, context_window=window)
    url = ui.ask("Enter the base URL of the endpoint:", default=_LOCAL_URL)
    key = ui.secret("Enter its API key (empty for none):")
    names: list[str] = []
    try:
        with ui.busy(f"Asking {url} for its models..."):
            names = Endpoint(url, key).models()
    except ProbeError as error:
        ui.line(f"Warning: {error}", "yellow")
    model = ui.select("Select the model:", names) if names else ""
    while not model:
        model = ui.ask("Enter the model's name:")
    window = _ask_number(ui, "Enter the size of its context window in tokens:", _LOCAL_WINDOW)
    return Answers(model=model, base_url=url, api_key=key, context_window=window)


def _ask_embedding(ui: Ui, answers: Answers) -> Answers:
    provider = ui.select(
        "Select embedding model:",
        [
            Choice("wordllama: bundled, 256 dimensions, no network", WORDLLAMA),
            Choice("openai-compatible endpoint", COMPATIBLE),
        ],
    )
    if provider == WORDLLAMA:
        return answers
    url = ui.ask("Enter the base URL of the embedding endpoint:", default=answers.base_url or OPENAI_URL)
    same = url == answers.base_url
    key = answers.api_key if same else ui.secret("Enter its API key (empty for none):")
    model = ui.ask("Enter the embedding model:", default=_EMBEDDING_MODEL)
    return replace(answers, embedding_model=model, embedding_base_url=url, embedding_api_key=key)


def _ask_number(ui: Ui, question: str, default: int) -> int:
    while True:
        text = ui.ask(question, default=str(default))
        if re.fullmatch(r"\d{4,8}", text):
            return int(text)
        ui.error("a number of tokens, please, such as 8192")


def endpoint_overrides(base_url: str, model: str) -> dict[str, str]:
    """Settings of the Agent for one run with `--model-endpoint`."""
    if not base_url:
        return {}
    if not model:
        raise CliError("--model-endpoint needs --model as well: the name of a model that the endpoint serves", MISUSE)
    return {"MEMGPT_AGENT_BASE_URL": base_url, "MEMGPT_AGENT_MODEL": model}
