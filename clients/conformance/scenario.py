"""The scenario as runners in Python read it: steps, variables, and comparisons."""

from __future__ import annotations

import json
import os
import re
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Json = Any
"""A tree of JSON."""


class CallError(Exception):
    """A call failed, as a step expects or not.

    Attributes:
        code: Name of the gRPC status.
        reason: Reason of the ErrorInfo; empty if there is none.
        metadata: Its metadata.
        violations: The fields of the BadRequest.
    """

    def __init__(
        self, code: str, reason: str, metadata: Mapping[str, str], text: str, violations: Iterable[str] = ()
    ) -> None:
        super().__init__(f"{code} {reason} {text}")
        self.code = code
        self.reason = reason
        self.metadata = metadata
        self.violations = sorted(violations)


class Runner(ABC):
    """Executes the steps; a subclass makes the calls.

    Attributes:
        config: Addresses, paths, and the key of the steps that have no other credential.
        credential: The token of the step's calls; empty for none.
    """

    def __init__(self) -> None:
        self.config = self.read_config()
        self._saved = {"run": self.config["run"], "key": self.config["key"]}
        self.credential = ""

    @staticmethod
    def read_config() -> dict[str, str]:
        """Return addresses and paths, from the file that the environment names."""
        config: dict[str, str] = json.loads(Path(os.environ["MEMGPT_CONFORMANCE"]).read_text(encoding="utf-8"))
        return config

    @abstractmethod
    def call(self, method: str, request: Json, timeout: float | None) -> Json:
        """Make a unary call.

        Raises:
            CallError: It failed.
        """

    @abstractmethod
    def turn(self, request: Json, during: str | None) -> Json:
        """Run a turn to its end.

        Raises:
            CallError: It failed.
        """

    @abstractmethod
    def load(self, source_name: str, files: Mapping[str, bytes]) -> Json:
        """Load files and return the load when it has ended."""

    def main(self) -> int:
        """Execute all steps, write the results, and return the exit code."""
        steps = json.loads(Path(self.config["scenario"]).read_text(encoding="utf-8"))["steps"]
        problems = []
        with Path(self.config["results"]).open("w", encoding="utf-8") as results:
            for step in steps:
                problems.append(self._run(step))
                results.write(json.dumps({"name": step["name"], "problem": problems[-1]}) + "\n")
                results.flush()
        return int(any(problems))

    def interfere(self, during: str) -> None:
        """Restart the Agent while a turn runs."""
        request = urllib.request.Request(f"{self.config['control']}/{during}", method="POST")
        urllib.request.urlopen(request, timeout=60).close()

    def _run(self, step: Json) -> str:
        """Execute a step and return what is wrong, or ""."""
        try:
            result = self._execute(step)
        except CallError as error:
            return self._compare_error(step.get("error"), error)
        if "error" in step:
            return f"expected {step['error']['code']}"
        for path, expected in step["expect"].items():
            if problem := _compare(result, path, self._fill(expected)):
                return problem
        for name, path in step.get("save", {}).items():
            self._saved[name] = look_up(result, path)
        return ""

    def _execute(self, step: Json) -> Json:
        self.credential = self._fill(step.get("credential", "${key}"))
        if "turn" in step:
            return self.turn(self._fill(step["turn"]), step.get("during"))
        if "load" in step:
            load = self._fill(step["load"])
            return self.load(load["sourceName"], {file["name"]: file["text"].encode() for file in load["files"]})
        if "pages" in step:
            return self._pages(**step["pages"])
        return self.call(step["call"], self._fill(step["request"]), step.get("timeoutSeconds"))

    def _pages(self, call: str, request: Json, items: str, id: str) -> Json:  # noqa: A002 - the scenario's key
        ids: list[str] = []
        pages, token = 0, ""
        while pages == 0 or token:
            response = self.call(call, {**self._fill(request), "pageToken": token}, None)
            ids += [look_up(item, id) for item in response.get(items, [])]
            pages, token = pages + 1, response.get("nextPageToken", "")
        return {"total": len(ids), "distinct": len(set(ids)), "pages": pages, "ids": ids}

    def _compare_error(self, expected: Json, error: CallError) -> str:
        if expected is None:
            return str(error)
        if error.code != expected["code"]:
            return f"expected {expected['code']}, got {error}"
        if error.reason != expected.get("reason", error.reason):
            return f"expected reason {expected['reason']}, got {error.reason}"
        if error.violations != expected.get("violations", error.violations):
            return f"expected violations of {expected['violations']}, got {error.violations}"
        wrong = {
            key for key, value in expected.get("metadata", {}).items() if error.metadata.get(key) != self._fill(value)
        }
        return f"metadata differs in {', '.join(sorted(wrong))}: {dict(error.metadata)}" if wrong else ""

    def _fill(self, value: Json) -> Json:
        """Return a tree of JSON with the saved values in place of the variables."""
        if isinstance(value, str):
            return re.sub(r"\$\{(\w+)\}", lambda found: self._saved[found[1]], value)
        if isinstance(value, dict):
            return {key: self._fill(each) for key, each in value.items()}
        return [self._fill(each) for each in value] if isinstance(value, list) else value


class TurnResult:
    """Collects the events of a turn, as JSON, into what a step expects."""

    def __init__(self, after_sequence: int) -> None:
        self.last_sequence = after_sequence
        self._result: dict[str, Any] = {"messages": [], "functions": [], "deltas": "", "sequencesAscend": True}

    def add(self, event: Json) -> bool:
        """Add an event and return whether it is a durable one of step 1 or later."""
        sequence = int(event.get("sequence", 0))
        if sequence:
            self._result.setdefault("firstSequence", str(sequence))
            self._result["sequencesAscend"] &= sequence == self.last_sequence + 1
            self.last_sequence = sequence
        if "message" in event:
            self._result["messages"].append(event["message"]["text"])
        if "functionCall" in event:
            self._result["functions"].append(event["functionCall"]["name"])
        if event.get("delta", {}).get("kind") == "DELTA_KIND_MESSAGE":
            self._result["deltas"] += event["delta"]["text"]
        if "done" in event:
            self._result["state"] = event["done"]["state"]
        return bool(sequence and event.get("step"))

    @property
    def ended(self) -> bool:
        """Whether the last event has come."""
        return "state" in self._result

    @property
    def json(self) -> Json:
        """The result as a step expects it."""
        return self._result


def look_up(value: Json, path: str) -> Json:
    """Follow a path such as ``hits.0.rank`` in a tree of JSON; None if it leads nowhere."""
    for key in path.split("."):
        if isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, dict):
            value = value.get(key)
        else:
            return None
    return value


def _compare(result: Json, path: str, expected: Json) -> str:
    if path == "contains":
        return "" if expected in result["ids"] else f"{expected} is not among the ids"
    got = look_up(result, path)
    return "" if got == expected else f"{path}: expected {expected!r}, got {got!r}"
