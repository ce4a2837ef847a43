"""A tool server in Python: rolls dice for agents. `pip install grpcio protobuf`, and the stubs of `protos/memgpt/tool`.

python server.py 127.0.0.1:6000
"""

from __future__ import annotations

import json
import random
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
from memgpt.tool.v1 import tool_service_pb2 as pb
from memgpt.tool.v1.tool_service_pb2_grpc import ToolServiceServicer, add_ToolServiceServicer_to_server

ROLL_DICE = pb.Tool(
    name="roll_dice",
    description="Rolls dice and tells what each of them shows.",
    parameters=json.dumps(
        {
            "type": "object",
            "properties": {
                "count": {"type": "integer", "minimum": 1, "maximum": 20, "description": "How many dice."},
                "sides": {"type": "integer", "minimum": 2, "maximum": 100, "description": "Sides of each; 6 if unset."},
            },
            "required": ["count"],
        }
    ),
)


class Dice(ToolServiceServicer):
    """Implements `memgpt.tool.v1.ToolService`."""

    def __init__(self) -> None:
        # What makes a repeated call harmless. A tool that changes something keeps this where it keeps that.
        self._answers: dict[str, pb.CallToolResponse] = {}

    def ListTools(self, request: pb.ListToolsRequest, context: grpc.ServicerContext) -> pb.ListToolsResponse:
        """What there is."""
        return pb.ListToolsResponse(tools=[ROLL_DICE])

    def CallTool(self, request: pb.CallToolRequest, context: grpc.ServicerContext) -> pb.CallToolResponse:
        """Rolls; a call that is repeated is answered as it was."""
        if request.name != ROLL_DICE.name:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no function {request.name!r}")
        if request.idempotency_key not in self._answers:
            arguments = json.loads(request.arguments)  # Fits the schema: the Agent has checked it.
            rolled = [random.randint(1, arguments.get("sides", 6)) for _ in range(arguments["count"])]
            self._answers[request.idempotency_key] = pb.CallToolResponse(result=json.dumps(rolled))
        return self._answers[request.idempotency_key]


def main() -> None:
    """Serves until it is interrupted."""
    server = grpc.server(ThreadPoolExecutor())
    add_ToolServiceServicer_to_server(Dice(), server)
    port = server.add_insecure_port(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:6000")
    server.start()
    print(f"listening on port {port}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
