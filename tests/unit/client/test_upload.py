"""Uploads that break are sent again, from the start of the file."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from memgpt.client import FailedPrecondition, MemGPT, Unavailable
from memgpt.loader.v1 import loader_service_pb2 as pb
from memgpt.loader.v1.load_pb2 import FILE_STATE_PROCESSING, LoadFile


class FlakyLoader:
    """Breaks uploads after their first chunk, as often as it has codes to break them with."""

    def __init__(self, *codes: grpc.StatusCode) -> None:
        self._codes = deque(codes)
        self.received: list[bytes] = []

    def upload(self, requests: Iterator[pb.UploadFileRequest], context: grpc.ServicerContext) -> pb.UploadFileResponse:
        next(requests)
        if self._codes:
            next(requests)
            context.abort(self._codes.popleft(), "broken")
        self.received.append(b"".join(request.chunk for request in requests))
        return pb.UploadFileResponse(file=LoadFile(state=FILE_STATE_PROCESSING))


def _bytes(message: pb.UploadFileResponse) -> bytes:
    return message.SerializeToString()


@contextmanager
def serving(loader: FlakyLoader) -> Iterator[MemGPT]:
    method = grpc.stream_unary_rpc_method_handler(loader.upload, pb.UploadFileRequest.FromString, _bytes)
    handler = grpc.method_handlers_generic_handler("memgpt.loader.v1.LoaderService", {"UploadFile": method})
    server = grpc.server(ThreadPoolExecutor(4), handlers=[handler], options=[("grpc.so_reuseport", 0)])
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        with MemGPT(address, address) as memgpt:
            yield memgpt
    finally:
        server.stop(None).wait()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "notes.txt"
    file.write_bytes(bytes(range(256)) * 1024)
    return file


@pytest.mark.parametrize("code", ["UNAVAILABLE", "INTERNAL", "UNKNOWN", "CANCELLED", "DEADLINE_EXCEEDED"])
def test_a_broken_upload_is_sent_again_in_full(path: Path, code: str) -> None:
    loader = FlakyLoader(grpc.StatusCode[code], grpc.StatusCode[code])
    with serving(loader) as memgpt:
        assert memgpt.loads.upload("load_1", "notes.txt", path).state == FILE_STATE_PROCESSING
    assert loader.received == [path.read_bytes()]


def test_retries_end_at_the_deadline(path: Path) -> None:
    loader = FlakyLoader(*[grpc.StatusCode.UNAVAILABLE] * 2)
    with serving(loader) as memgpt, pytest.raises(Unavailable):
        memgpt.loads.upload("load_1", "notes.txt", path, resume_seconds=0)
    assert loader.received == []


def test_a_refused_upload_is_not_sent_again(path: Path) -> None:
    loader = FlakyLoader(grpc.StatusCode.FAILED_PRECONDITION)
    with serving(loader) as memgpt, pytest.raises(FailedPrecondition):
        memgpt.loads.upload("load_1", "notes.txt", path)
    assert loader.received == []
