"""The commands of the chat, `/attach` and so on: each is one RPC."""

from __future__ import annotations

import json
from collections.abc import Callable

from google.protobuf.json_format import MessageToDict
from memgpt.agent.v1 import agent_service_pb2 as pb
from memgpt.cli.context_bar import show_context
from memgpt.cli.errors import CliError
from memgpt.cli.render import message_lines
from memgpt.cli.ui import Ui
from memgpt.client import MemGPT
from memgpt.memory.v1.block_pb2 import BlockEdit
from memgpt.memory.v1.message_pb2 import Message

HELP = {
    "/attach [SOURCE]": "let the agent search a data source",
    "/detach [SOURCE]": "take a data source away from it",
    "/memory": "show its core memory and how much it remembers",
    "/memory BLOCK TEXT": "write a block of its core memory",
    "/context": "show what fills its context window, as a bar",
    "/dump [N]": "show the last N messages of its context window, or all",
    "/dumpraw": "the same as JSON",
    "/heartbeat": "let it act without a message",
    "/memorywarning": "send it the alert of memory pressure",
    "/summarize": "summarise and evict its oldest messages",
    "/model [NAME]": "show the model, or change the one it asks",
    "/undo": "take back the last message and all that came of it",
    "/retry": "take back the last answer and ask again",
    "/rethink TEXT": "replace its last thought",
    "/rewrite TEXT": "replace its last message",
    "/pop [N=3]": "take back the last N messages",
    "/save": "nothing to do: everything is saved as it happens",
    "/exit": "leave the chat",
    "/help": "this list",
    "//": "begin a message of several lines",
}

_POPPED = 3
"""Messages that `/pop` takes back unless told otherwise."""

_DIGITS = 9
"""A request holds no more of a number; an agent has fewer messages."""

_EVENTS = {"/heartbeat": pb.SYSTEM_EVENT_HEARTBEAT, "/memorywarning": pb.SYSTEM_EVENT_MEMORY_WARNING}


class Commands:
    """The commands, for one agent."""

    def __init__(self, ui: Ui, memgpt: MemGPT, agent_id: str) -> None:
        self._ui = ui
        self._memgpt = memgpt
        self._agent_id = agent_id
        self._table: dict[str, Callable[[str], None]] = {
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
        """The event that a command gives the agent; None for other commands."""
        return _EVENTS.get(line.split()[0])

    def run(self, line: str) -> None:
        """Runs any other command; CliError when there is none of the name, or its argument is wrong."""
        name, _, argument = line.partition(" ")
        command = self._table.get(name)
        if command is None:
            raise CliError(f"there is no command {name}; /help lists them")
        command(argument.strip())

    def _attach(self, name: str) -> None:
        if not name:
            sources = list(self._memgpt.sources.list())
            if not sources:
                raise CliError("no data sources yet; load one with `memgpt load directory`")
            name = self._pick("Select data source", [source.name for source in sources])
        source = self._memgpt.sources.find(name)
        with self._ui.busy(f"Attaching {source.name}..."):
            self._memgpt.agents.attach(self._agent_id, source.source_id)
        self._ui.line(f"Attached data source {source.name}: {source.passage_count} passages.", "green")

    def _detach(self, name: str) -> None:
        attachments = self._memgpt.agents.get(self._agent_id).info.attachments
        if not attachments:
            raise CliError("no data source is attached")
        if not name:
            name = self._pick("Select data source", [attachment.source_name for attachment in attachments])
        for attachment in attachments:
            if name in (attachment.source_name, attachment.source_id):
                self._memgpt.agents.detach(self._agent_id, attachment.source_id)
                self._ui.line(f"Detached data source {attachment.source_name}.", "green")
                return
        raise CliError(f"the data source {name!r} is not attached")

    def _pick(self, question: str, names: list[str]) -> str:
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
            self._ui.line(f"[{block.label}: {len(block.value)} of {block.limit} characters{read_only}]", "bold")
            self._ui.line(block.value)
        taken = f", {agent.rewound_count} of them taken back" if agent.rewound_count else ""
        self._ui.line(f"Recall memory: {agent.message_count} messages{taken}", "bold")
        self._ui.line(f"Archival memory: {context.archival_count} passages", "bold")
        for attachment in agent.attachments:
            self._ui.line(f"  {attachment.passage_count} of {attachment.source_name}")
        self._ui.line(f"Context window: {context.total_tokens} of {context.context_window} tokens", "bold")
        if context.summary:
            self._ui.line(f"Summary of what left it: {context.summary}")

    def _write(self, label: str, text: str) -> None:
        before = {block.label: block for block in self._memgpt.agents.context(self._agent_id).blocks}
        if label not in before:
            raise CliError(f"there is no block {label}; it has {', '.join(before)}. `memgpt add block` makes one")
        edit = BlockEdit(label=label, value=_needed(text), etag=before[label].etag)
        block = self._memgpt.agents.set_block(self._agent_id, edit)
        self._ui.line(f"[{label}: {len(block.value)} of {block.limit} characters]", "bold")

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
        with self._ui.busy("Summarising..."):
            done = self._memgpt.agents.summarize(self._agent_id)
        self._ui.line(f"{done.evicted_count} messages left the context window. {done.summary}")

    def _model(self, name: str) -> None:
        if name:
            self._memgpt.agents.update(self._agent_id, {"model": name})
        model = self._memgpt.agents.model()
        own = self._memgpt.agents.get(self._agent_id).info.model
        served = model.model if model.mode == model.model else f"{model.model} ({model.mode})"
        # How an agent's own model calls functions the service tells nobody.
        name = f"{own}, of this agent alone; others have {served}" if own not in ("", model.model) else served
        self._ui.line(f"Model: {name}; embeddings: {model.embedding_model}")

    def _undo(self, _argument: str) -> None:
        self._taken_back(self._memgpt.agents.undo(self._agent_id))

    def _pop(self, argument: str) -> None:
        self._taken_back(self._memgpt.agents.undo(self._agent_id, _count(argument, _POPPED)))

    def _taken_back(self, count: int) -> None:
        self._ui.line(f"Took back {count} message{'' if count == 1 else 's'}.", "green")

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
            self._ui.line(f"  {name:<{width}}  {text}")


def _needed(text: str) -> str:
    if not text:
        raise CliError("the command needs a text")
    return text


def _count(argument: str, default: int) -> int:
    if not argument:
        return max(default, 1)
    if not argument.isdecimal() or len(argument) > _DIGITS or int(argument) == 0:
        raise CliError(f"not a number of messages: {argument}")
    return int(argument)
