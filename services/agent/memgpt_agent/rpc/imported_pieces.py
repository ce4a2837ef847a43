"""Checks of an imported agent's tools and timed heartbeats, which Memory stores without knowing what they mean."""

from __future__ import annotations

from collections.abc import Iterable

from memgpt.memory.v1 import heartbeat_pb2, tool_pb2
from memgpt.memory.v1.agent_piece_pb2 import AgentPiece
from memgpt_runtime import clock, reasons

from memgpt_agent import envelopes
from memgpt_agent.heartbeat_plan import PlanError, checked
from memgpt_agent.memory import memory_protos
from memgpt_agent.remote_tools import description
from memgpt_agent.remote_tools.addresses import AllowedAddresses, normal


class ImportedPieces:
    """The pieces of one import, checked as they pass.

    Attributes:
        blocked: Addresses of tools that the operator does not allow. They are imported, but not called.
    """

    def __init__(self, allowed: AllowedAddresses) -> None:
        self._allowed = allowed
        self._time_zone = "UTC"
        self.blocked: list[str] = []

    def check(self, pieces: Iterable[AgentPiece]) -> None:
        """Check pieces, and write tools and heartbeats as this service would have stored them.

        Raises:
            InvalidArgument: A tool or the heartbeats could not be those of an agent.
        """
        for piece in pieces:
            match piece.WhichOneof("piece"):
                case "agent":
                    self._time_zone = piece.agent.time_zone or "UTC"
                case "tool_server":
                    piece.tool_server.CopyFrom(self._tools(piece.tool_server))
                case "heartbeats":
                    piece.heartbeats.CopyFrom(self._heartbeats(piece.heartbeats))

    def _tools(self, server: tool_pb2.ToolServer) -> tool_pb2.ToolServer:
        try:
            address = normal(server.address)
        except ValueError as error:
            raise reasons.invalid_field(str(error), field="piece.tool_server.address") from error
        try:
            found = [
                description.describe(one.name, one.description, one.parameters, address, description.MAX_RESOLVED_BYTES)
                for one in server.functions
            ]
        except description.UnusableToolError as error:
            raise reasons.invalid_field(
                f"the functions of {address} cannot be used: {error}", field="piece.tool_server.functions"
            ) from error
        if len({tool.name for tool in found}) < len(found):
            raise reasons.invalid_field(
                f"two functions of {address} have the same name", field="piece.tool_server.functions"
            )
        if self._allowed.tls(address) is None:
            self.blocked.append(address)
        checked_server = memory_protos.tool_server(address, found)
        if server.HasField("register_time"):
            checked_server.register_time.CopyFrom(server.register_time)
        return checked_server

    def _heartbeats(self, heartbeats: heartbeat_pb2.Heartbeats) -> heartbeat_pb2.Heartbeats:
        try:
            plan = checked(heartbeats.plan, clock.seconds(), envelopes.zone(self._time_zone))
        except PlanError as error:
            raise reasons.invalid_field(str(error), field="piece.heartbeats.plan") from error
        except ValueError as error:  # the time zone
            raise reasons.invalid_field(str(error), field="piece.agent.time_zone") from error
        return heartbeat_pb2.Heartbeats(plan=plan.text())
