"""Run the scenario with grpcurl: no generated code, only descriptors and JSON."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import grpc

from clients.conformance.scenario import CallError, Json, Runner, TurnResult

GRPCURL = Path(__file__).resolve().parents[2] / ".tools" / "bin" / "grpcurl"
AGENT = "memgpt.agent.v1.AgentService"
LOADER = "memgpt.loader.v1.LoaderService"
_CODES = ("UNAVAILABLE", "INTERNAL", "UNKNOWN", "CANCELLED")
_ATTEMPTS = 60


class Grpcurl(Runner):
    """Makes every call by one run of grpcurl."""

    def call(self, method: str, request: Json, timeout: float | None) -> Json:
        """Make a unary call."""
        return next(self._stream(method, [request], timeout))

    def turn(self, request: Json, during: str | None) -> Json:
        """Run a turn to its end; send the request again after the last sequence when the stream breaks."""
        request = {"requestId": str(uuid.uuid4()), **request}
        result = TurnResult(int(request.get("afterSequence", 0)))
        for _ in range(_ATTEMPTS):
            try:
                request["afterSequence"] = result.last_sequence
                for response in self._stream(f"{AGENT}/SendMessage", [request], None):
                    if result.add(response["event"]) and during:
                        self._interfere(request, during)
                        during = None
            except CallError as error:
                if error.code not in _CODES or error.reason not in ("", "SHUTTING_DOWN", "SERVICE_UNAVAILABLE"):
                    raise
            if result.ended:
                return result.json
        raise CallError("UNAVAILABLE", "", {}, f"the turn has not ended after {_ATTEMPTS} attempts")

    def load(self, source_name: str, files: Mapping[str, bytes]) -> Json:
        """Load files and return the load when it has ended."""
        manifests = [
            {"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        ]
        load = self.call(f"{LOADER}/CreateLoad", {"sourceName": source_name, "files": manifests}, None)["load"]
        for file in load["files"]:
            if file["state"] == "FILE_STATE_AWAITING_UPLOAD":
                name = file["manifest"]["name"]
                header = {"header": {"loadId": load["loadId"], "name": name}}
                chunk = {"chunk": base64.b64encode(files[name]).decode()}
                next(self._stream(f"{LOADER}/UploadFile", [header, chunk], None))
        *_, last = self._stream(f"{LOADER}/WatchLoad", [{"loadId": load["loadId"]}], None)
        return last["ended"]

    def _interfere(self, request: Json, during: str) -> None:
        if during == "cancel":
            turn = {"agentId": request["agentId"], "requestId": request["requestId"]}
            self.call(f"{AGENT}/CancelTurn", turn, None)
        else:
            self.interfere(during)

    def _stream(self, method: str, requests: list[Json], timeout: float | None) -> Iterator[Json]:
        """Yield the responses as grpcurl prints them.

        Raises:
            CallError: The call failed.
        """
        service = method.split(".")[1]
        address = self.config["agent" if service == "common" else service]
        limit = "120" if timeout is None else f"{timeout:f}"
        # Proxies have no reflection.
        described = ["-protoset", self.config["descriptors"]] if self.config.get("descriptors") else []
        # grpcurl reads the variable itself, so that the token is not among the arguments, which others can see.
        header = ["-expand-headers", "-H", "authorization: Bearer ${TOKEN}"] if self.credential else []
        options = ["-plaintext", "-format-error", "-max-time", limit, *described, *header]
        command = [str(GRPCURL), *options, "-d", "@", address, method]
        with subprocess.Popen(
            command,
            env={**os.environ, "TOKEN": self.credential},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdin.write("\n".join(json.dumps(_with_plain_mask(request)) for request in requests))
            process.stdin.close()
            lines: list[str] = []
            for line in process.stdout:
                lines.append(line)
                if line.rstrip() in ("}", "{}"):  # the end of an object: grpcurl indents what is within
                    yield json.loads("".join(lines))
                    lines.clear()
            problem = process.stderr.read()
        if process.returncode:
            raise _call_error(problem)


def _with_plain_mask(request: Json) -> Json:
    """Write a field mask as the message that it is: grpcurl reads no other form."""
    mask = request.get("updateMask")
    return request if mask is None else {**request, "updateMask": {"paths": mask.split(",")}}


def _call_error(text: str) -> CallError:
    """Return the error that grpcurl printed as JSON, or as text where it failed before the call."""
    try:
        status = json.loads(text)
    except json.JSONDecodeError:
        code = "DEADLINE_EXCEEDED" if "deadline" in text.lower() else "UNAVAILABLE"
        return CallError(code, "", {}, text)
    details = status.get("details", [])
    info: Json = next((detail for detail in details if detail["@type"].endswith("ErrorInfo")), {})
    # grpcurl names the fields of details as they are declared, or as in JSON if the descriptor set has the details.
    names = ("field_violations", "fieldViolations")
    violations = [each["field"] for detail in details for name in names for each in detail.get(name, ())]
    code, reason, metadata = _code_name(status["code"]), info.get("reason", ""), info.get("metadata", {})
    return CallError(code, reason, metadata, status["message"], violations)


def _code_name(number: int) -> str:
    return next(code.name for code in grpc.StatusCode if code.value[0] == number)


if __name__ == "__main__":
    sys.exit(Grpcurl().main())
