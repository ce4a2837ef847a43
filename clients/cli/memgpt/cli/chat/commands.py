"""The commands of the chat, such as ``/attach``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from difflib import get_close_matches
from itertools import islice

from google.protobuf.json_format import MessageToDict
from memgpt.agent.v1 import agent_service_pb2 as pb
from memgpt.cli.chat.context_bar import show_context
from memgpt.cli.chat.messages import QUOTE_CHARACTERS, message_lines, quoted_lines, shorten
from memgpt.cli.errors import CliError
from memgpt.cli.setup.model_names import check_model
from memgpt.cli.terminal.ui import Ui, plural
from memgpt.client import MemGPT
from memgpt.memory.v1.block_pb2 import BlockEdit
from memgpt.memory.v1.message_pb2 import Message
from memgpt.memory.v1.turn_pb2 import TurnState

HELP = {
    "/agents": "list the agents",
    "/new [NAME]": "create an agent and talk to it",
    "/switch [NAME]": "talk to another agent",
    "/sources": "list the data sources, and which ones it can search",
    "/attach [SOURCE]": "let the agent search a data source",
    "/detach [SOURCE]": "take a data source away from it",
    "/search WORDS": "search its archival memory yourself",
    "/memory": "show its core memory and how much it remembers",
    "/memory BLOCK TEXT": "write a block of its core memory",
    "/context": "show what fills its context window, as a bar",
    "/stats": "show its messages, notes, turns and tokens",
    "/dump [N]": "show the last N messages of its context window, or all",
    "/dumpraw [N]": "the same as JSON",
    "/heartbeat": "let it act without a message",
    "/memorywarning": "send it the alert of memory pressure",
    "/summarize": "summarize and evict its oldest messages",
    "/model [NAME]": "show the model, or change the one it asks",
    "/undo": "take back your last message and all that followed",
    "/retry": "take back the last answer and ask again",
    "/rethink TEXT": "replace its last thought",
    "/rewrite TEXT": "replace its last message",
    "/pop [N]": "take back the last N messages, 3 by default",
    "/save": "nothing to do: everything is saved as it happens",
    "//": "begin a message of several lines",
    "/help": "show this list",
    "/exit": "leave the chat; /quit is the same",
}

_POPPED = 3
"""Number of messages that `/pop` takes back by default."""

_DIGITS = 9
"""Maximum digits of a number of messages, so that it fits into a request."""

_TURNS = 1000
"""Number of turns that `/stats` covers."""

_HITS = 5
"""Number of hits that `/search` shows."""

_EVENTS = {"/heartbeat": pb.SYSTEM_EVENT_HEARTBEAT, "/memorywarning": pb.SYSTEM_EVENT_MEMORY_WARNING}


class Commands:
    """The chat commands for one agent."""

    def __init__(self, ui: Ui, memgpt: MemGPT, agent_id: str) -> None:
        self._ui = ui
        self._memgpt = memgpt
        self._agent_id = agent_id
        self._table: dict[str, Callable[[str], None]] = {
            "/agents": self._agents,
            "/sources": self._sources,
            "/search": self._search,
            "/stats": self._stats,
            "/attach": self._attach,
            "/detach": self._detach,
            "/memory": self._memory,
            "/context": self._context,
            "/dump": self._dump,
            "/dumpraw": self._dumpraw,
            "/summarize": self._summarize,
            "/model": self._model,
            "/undo": self._undo,
            "/rethink": self._rethink,
            "/rewrite": self._rewrite,
            "/pop": self._pop,
            "/save": self._save,
            "/help": self._help,
        }

    def event(self, line: str) -> pb.SystemEvent.ValueType | None:
        """Return the event that a command sends to the agent; None for other commands."""
        return _EVENTS.get(line.split()[0])

    def run(self, line: str) -> None:
        """Run any other command.

        Raises:
            CliError: The command does not exist, or its argument is invalid.
        """
        name, _, argument = line.partition(" ")
        command = self._table.get(name)
        if command is None:
            close = get_close_matches(name.lower(), dict.fromkeys(key.split()[0] for key in HELP), n=1)
            raise CliError(f"unknown command {name}; {f'did you mean {close[0]}?' if close else '/help lists them'}")
        command(argument.strip())

    def _agents(self, _argument: str) -> None:
        from memgpt.cli.resources import show_agents

        show_agents(self._ui, self._memgpt)

    def _sources(self, _argument: str) -> None:
        attached = {each.source_id for each in self._memgpt.agents.get(self._agent_id).info.attachments}
        rows = [
            [source.name, "yes" if source.source_id in attached else "no", f"{source.passage_count:,}"]
            for source in self._memgpt.sources.list()
        ]
        if not rows:
            self._ui.note("No data sources yet; `memgpt load FILE` loads one.")
            return
        self._ui.table(["Name", "Attached", "Passages"], rows)

    def _search(self, query: str) -> None:
        from memgpt.cli.search import show_hits, tell_weakness

        if not query:
            raise CliError("nothing to search for; write /search WORDS")
        pages = self._memgpt.memory.search(query, agent_id=self._agent_id, page_size=_HITS)
        page = next(pages.pages())
        hits = list(page.items)
        show_hits(self._ui, hits, query)
        tell_weakness(self._ui, hits, page.response.mode)
        shown, total = len(hits), page.response.total_size
        self._ui.note(f"{shown:,} of {plural(total, 'passage')}" if total else "It has no passages to search.")

    def _stats(self, _argument: str) -> None:
        context = self._memgpt.agents.context(self._agent_id)
        turns = list(islice(self._memgpt.agents.turns(self._agent_id), _TURNS))
        states = Counter(TurnState.Name(turn.state).removeprefix("TURN_STATE_").lower() for turn in turns)
        agent = context.agent
        self._ui.line(f"Agent: {agent.name}, created {agent.create_time.ToDatetime():%Y-%m-%d %H:%M} UTC", "bold")
        self._ui.line(f"Messages: {agent.message_count:,}, of which {agent.rewound_count:,} were taken back")
        self._ui.line(f"Notes: {agent.passage_count:,}; passages it can search: {context.archival_count:,}")
        told = ", ".join(f"{count:,} {state}" for state, count in states.most_common())
        more = "the latest " if len(turns) == _TURNS else ""
        self._ui.line(f"Turns: {more}{len(turns):,}{f' ({told})' if told else ''}")
        share = context.total_tokens / max(context.context_window, 1)
        self._ui.line(f"Context window: {context.total_tokens:,} of {context.context_window:,} tokens ({share:.0%})")

    def _attach(self, name: str) -> None:
        if not name:
            sources = [source.name for source in self._memgpt.sources.list()]
            if not sources:
                raise CliError("no data sources yet; load one with `memgpt load FILE`")
            name = self.pick("Select data source", sources)
        source = self._memgpt.sources.find(name)
        with self._ui.busy(f"Attaching {source.name}..."):
            self._memgpt.agents.attach(self._agent_id, source.source_id)
        self._ui.line(f"Attached data source {source.name}: {plural(source.passage_count, 'passage')}.", "green")

    def _detach(self, name: str) -> None:
        attachments = self._memgpt.agents.get(self._agent_id).info.attachments
        if not attachments:
            raise CliError("no data source is attached")
        if not name:
            name = self.pick("Select data source", [attachment.source_name for attachment in attachments])
        for attachment in attachments:
            if name in (attachment.source_name, attachment.source_id):
                self._memgpt.agents.detach(self._agent_id, attachment.source_id)
                self._ui.line(f"Detached data source {attachment.source_name}.", "green")
                return
        attached = ", ".join(f'"{attachment.source_name}"' for attachment in attachments)
        raise CliError(f'data source "{name}" is not attached; attached: {attached}')

    def pick(self, question: str, names: list[str]) -> str:
        """Let the person pick one of several names.

        Raises:
            CliError: There is no terminal, and not exactly one name.
        """
        if self._ui.interactive:
            return self._ui.select(question, names)
        if len(names) == 1:
            return names[0]
        raise CliError(f"name one of: {', '.join(names)}")

    def _memory(self, argument: str) -> None:
        if argument:
            self._write(*argument.partition(" ")[::2])
            return
        context = self._memgpt.agents.context(self._agent_id)
        agent = context.agent
        for block in context.blocks:
            read_only = ", read-only" if block.read_only else ""
            self._ui.line(f"[{block.label}: {len(block.value):,} of {block.limit:,} characters{read_only}]", "bold")
            self._ui.line(block.value)
        taken = f", {agent.rewound_count:,} of them taken back" if agent.rewound_count else ""
        self._ui.line(f"Recall memory: {plural(agent.message_count, 'message')}{taken}", "bold")
        self._ui.line(f"Archival memory: {plural(context.archival_count, 'passage')}", "bold")
        for attachment in agent.attachments:
            self._ui.line(f"  {attachment.passage_count:,} of {attachment.source_name}")
        self._ui.line(f"Context window: {context.total_tokens:,} of {context.context_window:,} tokens", "bold")
        if context.summary:
            self._ui.line(f"Summary of what left it: {context.summary}")

    def _write(self, label: str, text: str) -> None:
        before = {block.label: block for block in self._memgpt.agents.context(self._agent_id).blocks}
        if label not in before:
            raise CliError(f"unknown block {label}; blocks: {', '.join(before)}; `memgpt add block` adds one")
        edit = BlockEdit(label=label, value=_needed(text), etag=before[label].etag)
        block = self._memgpt.agents.set_block(self._agent_id, edit)
        self._ui.line(f"[{label}: {len(block.value):,} of {block.limit:,} characters]", "bold")

    def _context(self, _argument: str) -> None:
        show_context(self._ui, self._memgpt.agents.context(self._agent_id))

    def _dump(self, argument: str) -> None:
        messages = list(self._memgpt.agents.context(self._agent_id).messages)
        for item in messages[-_count(argument, len(messages)) :]:
            for text in message_lines(item.message):
                self._ui.line(text)

    def _dumpraw(self, argument: str) -> None:
        messages = list(self._memgpt.agents.context(self._agent_id).messages)
        raw = [MessageToDict(item, preserving_proto_field_name=True) for item in messages]
        self._ui.line(json.dumps(raw[-_count(argument, len(raw)) :], ensure_ascii=False, indent=2))

    def _summarize(self, _argument: str) -> None:
        with self._ui.busy("Summarizing..."):
            done = self._memgpt.agents.summarize(self._agent_id)
        self._ui.line(f"{plural(done.evicted_count, 'message')} left the context window. {done.summary}")

    def _model(self, name: str) -> None:
        if name:
            check_model(name)
            self._memgpt.agents.update(self._agent_id, {"model": name})
        model = self._memgpt.agents.model()
        own = self._memgpt.agents.get(self._agent_id).info.model
        served = model.model if model.mode == model.model else f"{model.model} ({model.mode})"
        # How an agent's own model calls functions is unknown here.
        shown = f"{own} (this agent only; the others use {served})" if own not in ("", model.model) else served
        self._ui.line(f"Model: {shown}; embeddings: {model.embedding_model}")

    def _undo(self, _argument: str) -> None:
        self._take_back(0)

    def _pop(self, argument: str) -> None:
        self._take_back(_count(argument, _POPPED))

    def _take_back(self, count: int) -> None:
        before = list(self._memgpt.agents.context(self._agent_id).messages)
        taken = self._memgpt.agents.undo(self._agent_id, count)
        self._ui.line(f"Took back {plural(taken, 'message')}:", "green")
        for item in before[len(before) - taken :] if taken <= len(before) else before:
            for text in quoted_lines(item.message):
                self._ui.note(f"  {shorten(text, QUOTE_CHARACTERS)}")

    def _rethink(self, text: str) -> None:
        self._edited(self._memgpt.agents.rethink(self._agent_id, _needed(text)))

    def _rewrite(self, text: str) -> None:
        self._edited(self._memgpt.agents.rewrite(self._agent_id, _needed(text)))

    def _edited(self, message: Message) -> None:
        for text in message_lines(message):
            self._ui.line(text)

    def _save(self, _argument: str) -> None:
        self._ui.note("Nothing to do: everything is saved as it happens.")

    def _help(self, _argument: str) -> None:
        width = max(len(name) for name in HELP)
        for name, text in HELP.items():
            self._ui.entry(name, text, width + 4)


def _needed(text: str) -> str:
    if not text:
        raise CliError("a text is missing; /help shows how the command is used")
    return text


def _count(argument: str, default: int) -> int:
    if not argument:
        return max(default, 1)
    if not argument.isdecimal() or len(argument) > _DIGITS or int(argument) == 0:
        raise CliError(f"{argument} is not a number of messages")
    return int(argument)
