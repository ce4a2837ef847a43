"""Run the scenario with the Python client."""

from __future__ import annotations

import hashlib
import re
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message_factory import GetMessageClass
from memgpt.agent.v1 import agent_service_pb2 as agent_pb
from memgpt.client import MemGPT, ServiceError, from_rpc_error, open_channel
from memgpt.common.v1 import identity_service_pb2 as identity_pb
from memgpt.loader.v1.load_pb2 import FileManifest, FileState
from memgpt.memory.v1 import api_key_service_pb2 as keys_pb
from memgpt.memory.v1 import archival_memory_service_pb2 as archival_pb
from memgpt.memory.v1 import recall_memory_service_pb2 as recall_pb
from memgpt.memory.v1 import shared_block_service_pb2 as shared_pb
from memgpt.memory.v1 import tenant_service_pb2 as tenants_pb

from clients.conformance.scenario import CallError, Json, Runner, TurnResult

_LINKED = (agent_pb, archival_pb, identity_pb, keys_pb, recall_pb, shared_pb, tenants_pb)
"""The modules of the services that are called by name."""


class Python(Runner):
    """Makes calls by name through the generated stubs, turns and loads through the client."""

    def __init__(self, stack: ExitStack) -> None:
        """Keep clients and channels open until `stack` is closed."""
        super().__init__()
        self._stack = stack
        self._clients: dict[str, MemGPT] = {}
        self._channels: dict[tuple[str, str], grpc.Channel] = {}

    @property
    def _client(self) -> MemGPT:
        """The client with the step's credential."""
        if self.credential not in self._clients:
            client = MemGPT(
                self.config["agent"],
                self.config["loader"],
                token=self.credential or None,
                memory=self.config["memory"],
            )
            self._clients[self.credential] = self._stack.enter_context(client)
        return self._clients[self.credential]

    def _channel(self, service: str) -> grpc.Channel:
        """Return a channel for calls by name."""
        found = self._channels.get((service, self.credential))
        if found is None:
            address = self.config["agent" if service == "common" else service]
            found = self._stack.enter_context(open_channel(address, None, self.credential or None))
            self._channels[service, self.credential] = found
        return found

    def call(self, method: str, request: Json, timeout: float | None) -> Json:
        """Make a unary call."""
        found = descriptor_pool.Default().FindMethodByName(method.replace("/", "."))
        request_type = GetMessageClass(found.input_type)
        response_type = GetMessageClass(found.output_type)
        unary = self._channel(method.split(".")[1]).unary_unary(
            f"/{method}",
            request_serializer=request_type.SerializeToString,
            response_deserializer=response_type.FromString,
        )
        try:
            message = ParseDict(request, request_type())
            return MessageToDict(unary(message, timeout=60 if timeout is None else timeout))
        except grpc.RpcError as error:
            raise _call_error(from_rpc_error(error)) from error

    def turn(self, request: Json, during: str | None) -> Json:
        """Run a turn to its end."""
        message = ParseDict(request, agent_pb.SendMessageRequest())
        result = TurnResult(message.after_sequence)
        turn = self._client.agents.send(message)
        try:
            for event in turn:
                if result.add(MessageToDict(event)) and during:
                    if during == "cancel":
                        turn.cancel()
                    else:
                        self.interfere(during)
                    during = None
        except ServiceError as error:
            raise _call_error(error) from error
        return result.json

    def load(self, source_name: str, files: Mapping[str, bytes]) -> Json:
        """Load files and return the load when it has ended."""
        loads = self._client.loads
        manifests = [
            FileManifest(name=name, size=len(content), sha256=hashlib.sha256(content).hexdigest())
            for name, content in files.items()
        ]
        load = loads.create(source_name, manifests)
        with tempfile.TemporaryDirectory() as folder:
            for index, file in enumerate(load.files):
                if file.state == FileState.FILE_STATE_AWAITING_UPLOAD:
                    path = Path(folder) / str(index)
                    path.write_bytes(files[file.manifest.name])
                    loads.upload(load.load_id, file.manifest.name, path)
            *_, last = loads.watch(load.load_id)
        return MessageToDict(last.ended)


def _call_error(error: ServiceError) -> CallError:
    code = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__).upper()
    violations = [each.field for each in error.violations]
    return CallError(code, error.reason, error.metadata, error.message, violations)


def main() -> int:
    """Run the scenario and return the exit code."""
    with ExitStack() as stack:
        return Python(stack).main()


if __name__ == "__main__":
    sys.exit(main())
