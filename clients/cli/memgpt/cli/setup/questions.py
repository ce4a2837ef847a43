"""The questions of `memgpt configure`; Enter keeps the configured value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import urlencode

from memgpt.cli.endpoint_probe import OPENAI_URL, Endpoint
from memgpt.cli.errors import CliError
from memgpt.cli.setup import discovery
from memgpt.cli.setup.answers import (
    COMPATIBLE,
    OFFLINE,
    ONNX,
    OPENAI,
    WORDLLAMA,
    Answers,
    Extras,
    default_uri,
    sent_with,
)
from memgpt.cli.setup.checks import (
    check_folder,
    check_header,
    check_key,
    check_parameter,
    check_temperature,
    check_uri,
    check_url,
    check_window,
)
from memgpt.cli.terminal.ui import Choice, Ui, plural
from memgpt.endpoints.address import parse_address

_OPENAI_MODEL = "gpt-4o-mini"
_OPENAI_WINDOW = 128_000
_LOCAL_URL = "http://localhost:11434/v1"
_LOCAL_WINDOW = 8192
_AZURE_VERSION = "2024-10-21"
_EMBEDDING_MODEL = "text-embedding-3-small"
_OTHER = "\0other"
_KEEP, _ENTER = "keep", "enter"

T = TypeVar("T")


def ask(ui: Ui, before: Answers, configured: dict[str, Any] | None = None) -> Answers:
    """Ask the person all questions.

    Args:
        ui: The terminal.
        before: The configured answers, offered as defaults.
        configured: The whole configuration, with the extra headers of the endpoints.
    """
    configured = configured or {}
    with ui.busy("Looking for model servers on this machine..."):
        servers = discovery.local_servers()
    choices = [Choice("offline: built in, no key, no network; quotes from memory, does not converse", OFFLINE)]
    choices += [
        Choice(f"{server.name} on this machine: {plural(len(server.models), 'model')}", server.base_url)
        for server in servers
    ]
    choices += [
        Choice("openai", OPENAI),
        Choice("openai-compatible endpoint: Ollama, vLLM, llama.cpp, LM Studio, ...", COMPATIBLE),
    ]
    provider = ui.select("Select LLM inference provider:", choices, _provider(before, [each.value for each in choices]))
    answers = replace(before, model=OFFLINE, base_url="", api_key="", mode="auto", context_window=0)
    if provider == OPENAI:
        answers = _ask_openai(ui, before)
    elif provider != OFFLINE:
        answers = _ask_compatible(ui, before, "" if provider == COMPATIBLE else provider, configured)
    answers = _ask_embedding(ui, answers, before)
    ui.select("Select storage backend for archival data:", ["milvus"])
    uri = before.milvus_uri or default_uri()
    return replace(answers, milvus_uri=_ask(ui, "Enter the Milvus connection URI:", uri, check_uri))


def _provider(before: Answers, offered: list[str]) -> str:
    if before.model == OFFLINE:
        return OFFLINE
    if before.base_url in ("", OPENAI_URL):
        return OPENAI
    return before.base_url if before.base_url in offered else COMPATIBLE


def _ask_openai(ui: Ui, before: Answers) -> Answers:
    known = before if _provider(before, []) == OPENAI else Answers()
    key = _ask_key(ui, "Enter your OpenAI API key", known.api_key)
    model = _ask(ui, "Enter the model:", known.model if known.model != OFFLINE else _OPENAI_MODEL, _named)
    window = str(known.context_window or _OPENAI_WINDOW)
    tokens = _ask(ui, "Enter the size of its context window in tokens:", window, check_window)
    return replace(
        before,
        model=model,
        base_url=OPENAI_URL,
        api_key=key,
        context_window=tokens,
        mode=_mode(before, model, OPENAI_URL),
    )


def _ask_compatible(ui: Ui, before: Answers, url: str, configured: dict[str, Any]) -> Answers:
    if not url:
        offered = before.base_url if before.base_url not in ("", OPENAI_URL) else _LOCAL_URL
        url = _with_version(ui, _ask(ui, "Enter the base URL of the endpoint:", offered, check_url))
    same = url == before.base_url
    local = any(url == f"http://localhost:{port}/v1" for _, port in discovery.SERVERS)
    key = (
        (before.api_key if same else "")
        if local
        else _ask_key(ui, "Enter its API key, if it needs one", before.api_key if same else "")
    )
    given = _ask_extras(ui, "Send further headers or query parameters, or set a temperature:", same, check_temperature)
    endpoint = Endpoint(url, key, *sent_with(given, configured, "agent", "", url))
    with ui.busy(f"Asking {url} for its models..."):
        names = discovery.models(endpoint)
    if not names:
        ui.warning(f"{url} does not list its models; is its server running?")
    model = _ask_model(ui, names, before.model if same else "")
    with ui.busy(f"Asking {url} for the context window of {model}..."):
        found = discovery.context_window(endpoint, model)
    kept = before.context_window if same and model == before.model else 0
    tokens = _ask(
        ui, "Enter the size of its context window in tokens:", str(kept or found or _LOCAL_WINDOW), check_window
    )
    return replace(
        before,
        model=model,
        base_url=url,
        api_key=key,
        context_window=tokens,
        mode=_mode(before, model, url),
        extras=given,
    )


def _ask_extras(ui: Ui, question: str, same: bool, temperature: Callable[[str], float] | None = None) -> Extras | None:
    """Ask for what a gateway demands with every request, which few do.

    Args:
        ui: The terminal.
        question: The question before the others.
        same: Whether the endpoint is the configured one, whose extras can be kept.
        temperature: Validates a temperature; None to ask for none.

    Returns:
        The answers; None for what is configured.
    """
    keep = Choice("as configured" if same else "no", _KEEP)
    if ui.select(question, [keep, Choice("enter them", _ENTER)]) == _KEEP:
        return None
    headers = _ask_pairs(ui, 'Enter a header as "Name: value" (Enter to go on):', check_header)
    query = _ask_pairs(ui, "Enter a query parameter as name=value (Enter to go on):", check_parameter)
    if temperature is None:
        return Extras(headers, query)
    return Extras(
        headers,
        query,
        _ask(ui, "Enter the temperature, from 0 to 2 (Enter for the endpoint's own):", "",
             lambda text: temperature(text) if text else None),
    )  # fmt: skip


def _ask_pairs(ui: Ui, question: str, check: Callable[[str], tuple[str, str]]) -> dict[str, str]:
    """Ask for names with values until an empty answer."""
    pairs: dict[str, str] = {}
    while pair := _ask(ui, question, "", lambda text: check(text) if text else None):
        pairs[pair[0]] = pair[1]
    return pairs


def _with_version(ui: Ui, url: str) -> str:
    """Return the address with the version of the API, which only Azure's deployments demand."""
    try:
        address = parse_address(url)
    except ValueError:
        return url
    if "/deployments/" not in address.base_url or "api-version" in address.query:
        return url
    version = _ask(ui, "Enter the version of Azure's API (api-version):", _AZURE_VERSION, _named)
    return f"{url}{'&' if address.query else '?'}{urlencode({'api-version': version})}"


def _mode(before: Answers, model: str, url: str) -> str:
    """Return the function calling mode: the configured one for the same model, else `auto`."""
    return before.mode if (model, url) == (before.model, before.base_url or OPENAI_URL) else "auto"


def _ask_model(ui: Ui, names: list[str], before: str) -> str:
    if names:
        choices: list[str | Choice] = [*names, Choice("another one", _OTHER)]
        chosen = ui.select("Select the model:", choices, before if before in names else None)
        if chosen != _OTHER:
            return chosen
    return _ask(ui, "Enter the name of the model:", before if before != OFFLINE else "", _named)


def _ask_embedding(ui: Ui, answers: Answers, before: Answers) -> Answers:
    local = before.embedding_model in (WORDLLAMA, ONNX)
    provider = ui.select(
        "Select embedding model:",
        [
            Choice("wordllama: bundled, 256 dimensions, no network", WORDLLAMA),
            Choice("local transformer: an ONNX model in a folder, no network, better and slower", ONNX),
            Choice("openai-compatible endpoint", COMPATIBLE),
        ],
        before.embedding_model if local else COMPATIBLE,
    )
    answers = replace(
        answers,
        embedding_model=provider,
        embedding_base_url="",
        embedding_api_key="",
        embedding_dimension=0,
        embedding_folder="",
    )
    if provider == WORDLLAMA:
        return answers
    if provider == ONNX:
        folder = _ask(ui, "Enter the folder of the model:", before.embedding_folder, check_folder)
        return replace(answers, embedding_folder=folder)
    offered = before.embedding_base_url or answers.base_url or OPENAI_URL
    url = _with_version(ui, _ask(ui, "Enter the base URL of the embedding endpoint:", offered, check_url))
    if url == answers.base_url:
        key = answers.api_key
        given = None if answers.extras is None else replace(answers.extras, temperature=None)
    else:
        known = before.embedding_api_key if url == before.embedding_base_url else ""
        key = _ask_key(ui, "Enter its API key, if it needs one", known)
        given = _ask_extras(ui, "Send further headers or query parameters:", url == before.embedding_base_url)
    model = _ask(ui, "Enter the embedding model:", _EMBEDDING_MODEL if local else before.embedding_model, _named)
    same = (model, url) == (before.embedding_model, before.embedding_base_url)
    return replace(
        answers,
        embedding_model=model,
        embedding_base_url=url,
        embedding_api_key=key,
        embedding_dimension=before.embedding_dimension if same else 0,
        embedding_extras=given,
    )


def _ask(ui: Ui, question: str, default: str, check: Callable[[str], T]) -> T:
    """Ask until the answer is valid."""
    while True:
        try:
            return check(ui.ask(question, default=default) or default)
        except CliError as error:
            ui.error(error.message)


def _ask_key(ui: Ui, question: str, before: str) -> str:
    suffix = " (Enter keeps the current one):" if before else ":"
    while True:
        try:
            return check_key(ui.secret(question + suffix)) or before
        except CliError as error:
            ui.error(error.message)


def _named(name: str) -> str:
    name = name.strip()
    if not name or not name.isprintable():
        raise CliError("enter the name of a model, such as qwen2.5:7b")
    return name
