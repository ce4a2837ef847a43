"""The table of endpoints: what works with each, determined with a server that applies the vendor's rules."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from memgpt_agent.domain import FunctionCall, Message, Role
from memgpt_agent.models.base import DeltaKind, ModelRequest
from memgpt_agent.models.endpoint import CallMode
from memgpt_memory.embedding import EmbeddingEndpointSettings, OpenAIEmbedder

from tests.support.scripted_llm import ScriptedLLM
from tests.support.vendors import VENDORS, Vendor
from tests.support.vendors.server import MESSAGE, SUMMARY, serve
from tests.unit.agent.fakes import user
from tests.unit.agent.models.asking import Sink, calls, model_at, question

PAGE = Path(__file__).parents[3] / "docs/reference/endpoints.md"
COLUMNS = ("auto", "tools", "json_schema", "streaming", "caching", "embeddings")
OK, ADAPTED, BAD, NONE = "OK", "(OK)", "BAD", "-"
Start = Callable[..., ScriptedLLM]

_HEAD = """\
# Endpoints

Which endpoints work, and in which way. This page is written by `make generate` from the tests: behind each row is a
scripted server that applies the vendor's rules and refuses in its words, as they are known from issues, sources and
documentation. No real endpoint is asked. `auto` is what `memgpt configure` writes.

| sign | meaning |
| --- | --- |
| OK | works with the first request |
| (OK) | works after refusals, from which the suite learns; or an answer is not streamed |
| BAD | does not work |
| - | the vendor does not have it |

"""


def history() -> list[Message]:
    """Return a conversation with a search, two consecutive user messages, and call ids in the old format."""
    search = FunctionCall("call_0123456789abcdef01234567", "archival_memory_search", '{"query": "tea", "page": 0}')
    return [
        *question().messages[1:],
        Message(Role.ASSISTANT, "I look it up.", function_call=search),
        Message(Role.TOOL, '{"status": "OK", "message": "Showing 0 of 0 results"}', call_id=search.call_id),
        user("Do I like tea?"),
        user("Or coffee?"),
    ]


async def by_mode(start: Start, vendor: Vendor, mode: CallMode) -> dict[str, str]:
    """Test a mode with three questions and a summary."""
    if vendor.chat is None:
        return {"mode": NONE, "streaming": NONE, "caching": NONE}
    llm, served, address = serve(start, vendor)
    streamed, cached = True, 0
    try:
        async with model_at(llm, mode, base_url=address, retries=3) as model:
            for asked in (question(), question(*history()), question(*history(), user("Well?"))):
                sink = Sink()
                answer = await model.complete(asked, sink)
                assert ("send_message", {"message": MESSAGE}) in calls(answer)
                # A message after another call is shown once that call has been made.
                streamed &= sink.text[DeltaKind.MESSAGE] == MESSAGE or bool(answer.further)
                cached += answer.usage.cached_tokens
            summary = ModelRequest([Message(Role.SYSTEM, "Sum up."), user("Hi")], max_tokens=500)
            assert (await model.complete(summary, Sink())).text == SUMMARY
    except Exception as error:  # noqa: BLE001 - any error means that the endpoint does not work
        return {"mode": BAD, "streaming": BAD, "caching": BAD, "error": str(error)}
    learned = served.refused or served.asked > 4
    return {
        "mode": ADAPTED if learned else OK,
        "streaming": OK if streamed else ADAPTED,
        "caching": OK if cached else NONE if not vendor.cached else BAD,
    }


async def embeddings(start: Start, vendor: Vendor) -> str:
    """Test embeddings with 130 passages and a query."""
    if vendor.embeddings is None:
        return NONE
    _, served, address = serve(start, vendor)
    model = OpenAIEmbedder(EmbeddingEndpointSettings("e", 256, address, "key"))
    try:
        assert (await model.embed([f"text {number}" for number in range(130)])).shape == (130, 256)
        assert (await model.embed(["a question"], query=True)).shape == (1, 256)
    except Exception:  # noqa: BLE001 - any error means that the endpoint does not work
        return BAD
    finally:
        await model.close()
    return ADAPTED if served.refused else OK


async def row(start: Start, vendor: Vendor) -> dict[str, str]:
    """Return the table cells of one vendor."""
    auto = await by_mode(start, vendor, CallMode.AUTO)
    return {
        "auto": auto["mode"],
        "tools": (await by_mode(start, vendor, CallMode.TOOLS))["mode"],
        "json_schema": (await by_mode(start, vendor, CallMode.JSON_SCHEMA))["mode"],
        "streaming": auto["streaming"],
        "caching": auto["caching"],
        "embeddings": await embeddings(start, vendor),
    }


def page(rows: dict[str, dict[str, str]]) -> str:
    """Return the page of the documentation."""
    lines = [f"| endpoint | {' | '.join(COLUMNS)} |", f"| --- |{' --- |' * len(COLUMNS)}"]
    lines += [f"| {name} | {' | '.join(cells[column] for column in COLUMNS)} |" for name, cells in rows.items()]
    return _HEAD + "\n".join(lines) + "\n"


def generate() -> str:
    """Return the page from a run of all vendors."""

    async def run() -> dict[str, dict[str, str]]:
        servers: list[ScriptedLLM] = []

        def start(script: object = ()) -> ScriptedLLM:
            servers.append(ScriptedLLM(script))  # type: ignore[arg-type]
            return servers[-1]

        try:
            return {vendor.name: await row(start, vendor) for vendor in VENDORS}
        finally:
            for server in servers:
                server.close()

    return page(asyncio.run(run()))
