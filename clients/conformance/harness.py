"""The services with a scripted model, and a control port that restarts the Agent while a turn runs."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.credentials import GuardedSuite
from tests.support.scripted_llm import Reply, Request, ScriptedLLM, call, say

_GATE_SECONDS = 60
_USER_MESSAGE = re.compile(r'"type": ?"user_message", ?"message": ?("(?:[^"\\]|\\.)*")')


class Harness:
    """The suite and its control port, as a context manager.

    Attributes:
        suite: The services, which require a credential.
        control: URL of the control port. ``POST /kill-agent`` and ``POST /drain-agent`` return when the Agent serves
            again at its former address.
    """

    suite: GuardedSuite
    control: str

    def __init__(self, home: Path) -> None:
        """Prepare a suite with its data in a folder."""
        self._home = home
        self._llm = ScriptedLLM(self._reply)
        self._released = threading.Event()
        self._restart = threading.Lock()

    def __enter__(self) -> Self:
        self._llm.__enter__()
        model = {
            "MEMGPT_AGENT_MODEL": self._llm.model,
            "MEMGPT_AGENT_BASE_URL": self._llm.base_url,
            "MEMGPT_AGENT_MODE": "tools",
            "MEMGPT_SERVER_DRAIN_PAUSE": "0.2",
            "MEMGPT_SERVER_DRAIN_GRACE": "0.5",
            "MEMGPT_MEMORY_LEASE_SECONDS": "2",
        }
        self.suite = GuardedSuite(self._home, **model).__enter__()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.control = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self.suite.__exit__(kind, error, trace)
        self._llm.__exit__(kind, error, trace)

    def _reply(self, request: Request) -> Reply:
        """Answer by the last message of the user and what has happened since."""
        if not request.functions:
            return say("A summary.")
        said, calls = last_user_message(request)
        if said.startswith("Remember"):
            if calls == 0:
                return call("core_memory_append", name="human", content="Lives in Brest.", request_heartbeat=True)
            return call("send_message", message="Noted.")
        if said.startswith("Search slowly"):
            if calls == 0:
                self._released.clear()
                return call("archival_memory_search", query="tides", page=0, request_heartbeat=True)
            # The second answer comes when the Agent is back, or when nobody restarts it.
            self._released.wait(_GATE_SECONDS)
            return call("send_message", message="Found it.")
        return call("send_message", message=f"You said: {said}")

    def _restart_agent(self, *, kill: bool) -> None:
        with self._restart:
            port = self.suite.agent_address.rsplit(":", 1)[1]
            if kill:
                self.suite.agent.kill9()
            else:
                self.suite.agent.close()
            self.suite.start_agent(MEMGPT_AGENT_PORT=port)
            self._released.set()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        harness = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                actions = {"/kill-agent": True, "/drain-agent": False}
                if self.path not in actions:
                    self.send_error(404)
                    return
                harness._restart_agent(kill=actions[self.path])
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def last_user_message(request: Request) -> tuple[str, int]:
    """Return what the user said last and how many function calls have followed."""
    said, calls = "", 0
    for message in request.messages:
        found = _USER_MESSAGE.findall(str(message.get("content") or ""))
        if message["role"] == "user" and found:
            said, calls = json.loads(found[-1]), 0
        calls += bool(message.get("tool_calls"))
    return said, calls
