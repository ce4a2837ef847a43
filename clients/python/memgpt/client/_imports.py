"""Requests of an import: each has many pieces, since a request for each would cost more than the piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from memgpt.agent.v1.agent_service_pb2 import ImportAgentRequest
from memgpt.client._ids import new_request_id
from memgpt.memory.v1.agent_piece_pb2 import AgentPiece, SharedBlockLabel

_MAX_PIECES = 256
_MAX_BYTES = 256 << 10
"""Most pieces of a request, and most bytes of more than one piece."""


def batched(pieces: Iterable[AgentPiece], name: str, shared_blocks: Mapping[str, str]) -> Iterator[ImportAgentRequest]:
    """Yield the requests of ImportAgent.

    Args:
        pieces: The pieces of an exported agent.
        name: Name of the new agent; the exported name if empty.
        shared_blocks: Ids of shared blocks by label.
    """
    shared = [SharedBlockLabel(label=label, block_id=block_id) for label, block_id in shared_blocks.items()]
    request = ImportAgentRequest(name=name, request_id=new_request_id(), shared_blocks=shared)
    size = 0
    for piece in pieces:
        added = piece.ByteSize()
        if request.HasField("piece") and (size + added > _MAX_BYTES or len(request.more_pieces) + 1 == _MAX_PIECES):
            yield request
            request, size = ImportAgentRequest(), 0
        target = request.more_pieces.add() if request.HasField("piece") else request.piece
        target.CopyFrom(piece)
        size += added
    if request.HasField("piece"):
        yield request
