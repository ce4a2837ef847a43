"""`memgpt configure` and `quickstart`: take answers from questions or flags, complete, test and save them."""

from __future__ import annotations

import time
from dataclasses import replace
from importlib.util import find_spec

from memgpt.cli.endpoint_probe import OPENAI_URL, Endpoint, ProbeError
from memgpt.cli.errors import MISUSE, CliError
from memgpt.cli.setup.answers import (
    OFFLINE,
    ONNX,
    WORDLLAMA,
    Answers,
    Extras,
    current,
    default_uri,
    document,
    keep_former,
    read_document,
    sent_with,
    write_document,
)
from memgpt.cli.setup.checks import (
    DEFAULT_WINDOW,
    MIN_WINDOW,
    check_folder,
    check_header,
    check_key,
    check_parameter,
    check_temperature,
    check_uri,
    check_url,
)
from memgpt.cli.setup.local_model import embed_test_text
from memgpt.cli.terminal.ui import Ui
from memgpt.config import config_path


def complete(ui: Ui, answers: Answers, *, test: bool = False) -> Answers:
    """Complete answers from the endpoints with a test message and a test embedding; report how long they took.

    An unreachable chat endpoint only causes a warning: how the model calls functions is detected later.

    Args:
        ui: The terminal.
        answers: The answers so far.
        test: Whether to call the endpoints even if no answer is missing.

    Raises:
        CliError: The dimension of the embeddings is unknown.
    """
    former = read_document(config_path())
    if answers.model != OFFLINE and (test or answers.mode == "auto"):
        more = sent_with(answers.extras, former, "agent", "", answers.base_url)
        endpoint = Endpoint(answers.base_url or OPENAI_URL, answers.api_key, *more)
        begin = time.monotonic()
        try:
            with ui.busy(f"Sending {answers.model} a test message..."):
                found = endpoint.mode(answers.model)
            # The result is shown but not saved: the Agent detects it itself, and revises it.
            mode = f"{answers.mode} ({found} now)" if answers.mode == "auto" else answers.mode
            ui.note(f"{answers.model} answered a test message in {time.monotonic() - begin:.1f} s; mode {mode}")
            _warn_of_silent_window(ui, endpoint, answers)
        except ProbeError as error:
            ui.warning(f"{error}; it is saved all the same, and tried again with the first message")
    if answers.embedding_model == ONNX:
        _test_local_transformer(ui, answers.embedding_folder)
    if answers.embedding_model not in (WORDLLAMA, ONNX) and (test or not answers.embedding_dimension):
        more = sent_with(answers.embedding_extras, former, "memory", "embedding_", answers.embedding_base_url)
        endpoint = Endpoint(answers.embedding_base_url or OPENAI_URL, answers.embedding_api_key, *more)
        begin = time.monotonic()
        try:
            with ui.busy(f"Asking {answers.embedding_model} for a test embedding..."):
                dimension = endpoint.embedding_dimension(answers.embedding_model)
            ui.note(
                f"{answers.embedding_model} embedded a test text in {time.monotonic() - begin:.1f} s;"
                f" {dimension:,} dimensions"
            )
            answers = replace(answers, embedding_dimension=answers.embedding_dimension or dimension)
        except ProbeError as error:
            if not answers.embedding_dimension:
                raise CliError(f"{error}; or give --embedding-dimension") from error
            ui.warning(str(error))
    return answers


def _test_local_transformer(ui: Ui, folder: str) -> None:
    """Embed a text with a local transformer, if Memory is installed here; report how long it took."""
    if find_spec("onnxruntime") is None:
        ui.warning("onnxruntime is not installed; run `pip install 'memgpt-milvus[onnx]'` where Memory runs")
        return
    if find_spec("memgpt_memory") is None:
        return
    try:
        with ui.busy(f"Asking the model in {folder} for a test embedding..."):
            found = embed_test_text(folder)
    except CliError as error:
        ui.warning(error.message)
        return
    ui.note(
        f"The model in {folder} embedded a test text in {found.seconds * 1000:.0f} ms; {found.dimensions:,} dimensions"
    )


def _warn_of_silent_window(ui: Ui, endpoint: Endpoint, answers: Answers) -> None:
    """Warn if Ollama's context window is too small, since it silently truncates prompts."""
    window, wanted = endpoint.silent_window(answers.model), answers.context_window or DEFAULT_WINDOW
    if 0 < window < wanted:
        ui.warning(
            f"Ollama silently truncates prompts of {answers.model} at {window:,} tokens, and the Agent counts on"
            f" {wanted:,}; start Ollama with OLLAMA_CONTEXT_LENGTH={wanted}"
        )


def save(ui: Ui, answers: Answers, *, test: bool = False) -> None:
    """Complete the answers and write the file."""
    path = config_path()
    old = read_document(path)
    answers = complete(ui, replace(answers, milvus_uri=check_uri(answers.milvus_uri or default_uri())), test=test)
    new = document(old, answers)
    if old and new != old:
        keep_former(ui, path)
    write_document(path, new)
    ui.line(f"📖 Saved the configuration to {path}", "bold green")


def from_flags(model: str, base_url: str, api_key: str, mode: str, context_window: int, milvus_uri: str) -> Answers:
    """Return the answers from the flags of `memgpt configure`; see there."""
    if mode not in ("auto", "tools", "json_schema"):
        raise CliError(f"--mode {mode}: choose auto, tools or json_schema", MISUSE)
    if 0 < context_window < MIN_WINDOW:
        raise CliError(f"--context-window {context_window}: a window has at least {MIN_WINDOW:,} tokens", MISUSE)
    if not model:
        if base_url:
            raise CliError(
                "--model-endpoint needs --model as well: the name of a model that the endpoint serves", MISUSE
            )
        return Answers(milvus_uri=milvus_uri)
    return Answers(
        model=model,
        base_url=check_url(base_url or OPENAI_URL),
        api_key=check_key(api_key),
        mode=mode,
        context_window=context_window,
        milvus_uri=milvus_uri,
    )


def with_extras(answers: Answers, headers: list[str], query: list[str], temperature: float | None) -> Answers:
    """Return `answers` with headers such as ``Name: value``, query parameters such as ``name=value``, and temperature.

    They are for an embedding model at the same endpoint as well. Without any, what is configured is kept.
    """
    if not headers and not query and temperature is None:
        return answers
    if answers.model == OFFLINE:
        raise CliError("--header, --query and --temperature need --model as well", MISUSE)
    given = Extras(
        dict(check_header(header) for header in headers),
        dict(check_parameter(parameter) for parameter in query),
        None if temperature is None else check_temperature(str(temperature)),
    )
    shared = answers.embedding_base_url == answers.base_url
    return replace(answers, extras=given, embedding_extras=replace(given, temperature=None) if shared else None)


def with_embedding(answers: Answers, model: str, base_url: str, api_key: str, dimension: int) -> Answers:
    """Return `answers` with an embedding model at an endpoint, by default the chat model's."""
    if model == WORDLLAMA:
        return answers
    return replace(
        answers,
        embedding_model=model,
        embedding_base_url=base_url or answers.base_url or OPENAI_URL,
        embedding_api_key=api_key,
        embedding_dimension=dimension,
    )


def with_local_transformer(answers: Answers, folder: str) -> Answers:
    """Return `answers` with the embedding model in a folder."""
    return replace(answers, embedding_model=ONNX, embedding_folder=check_folder(folder))


def quick(ui: Ui, base_url: str, model: str, api_key: str) -> Answers:
    """Return answers without asking: the offline model, or the first model of an endpoint.

    Raises:
        CliError: The endpoint does not respond, or serves no model.
    """
    if not base_url:
        if model:
            raise CliError("--model needs --openai-compatible as well: the base URL of its endpoint", MISUSE)
        return Answers()
    base_url, api_key = check_url(base_url), check_key(api_key)
    if not model:
        try:
            with ui.busy(f"Asking {base_url} for its models..."):
                names = Endpoint(base_url, api_key).models()
        except ProbeError as error:
            raise CliError(str(error)) from error
        if not names:
            raise CliError(f"{base_url} lists no models; pass --model")
        model = names[0]
    return Answers(model=model, base_url=base_url, api_key=api_key)


def endpoint_overrides(base_url: str, model: str) -> dict[str, str]:
    """Return the settings of the Agent for one run with `--model-endpoint`."""
    if not base_url:
        return {}
    if not model:
        raise CliError("--model-endpoint needs --model as well: the name of a model that the endpoint serves", MISUSE)
    return {"MEMGPT_AGENT_BASE_URL": check_url(base_url), "MEMGPT_AGENT_MODEL": model}


def interview(ui: Ui) -> None:
    """Ask the person all questions, and save the answers; Enter keeps the configured values."""
    from memgpt.cli.setup.questions import ask

    configured = read_document(config_path())
    save(ui, ask(ui, current(configured), configured), test=True)
    show_next_steps(ui)


def show_next_steps(ui: Ui) -> None:
    """Show the next steps after the configuration is saved, on a terminal."""
    if not ui.terminal:
        return
    ui.line()
    ui.line("What to do next:", "bold")
    for command, text in (
        ("memgpt load paper.pdf", "load documents"),
        ("memgpt run", "talk to an agent; /attach lets it search the documents"),
        ("memgpt doctor", "check everything that MemGPT needs"),
    ):
        ui.entry(command, text, 26)
