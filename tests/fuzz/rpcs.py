"""Fuzzing of a real Loader with invalid requests and uploads."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from random import Random
from typing import Any

import grpc
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from memgpt.loader.v1 import loader_service_pb2 as pb
from memgpt.loader.v1.load_pb2 import FileManifest
from memgpt_runtime.status import CODES, DETAILS_KEY, DOMAIN, LOST_ANSWER

from tests.fuzz.mutations import mutated

_SECONDS = 60.0
_WATCH_SECONDS = 1.0
_AT_A_TIME = 8
_SERVICE = pb.DESCRIPTOR.services_by_name["LoaderService"]
_TEXTS = ("", "a", "\0", "x" * 70, "é" * 700, "../../etc/passwd", "a' or 1 == 1", "a.txt", "\U0001f98a", "load_none")
_NUMBERS = (0, 1, -1, 2**31 - 1, -(2**31), 50, 1001)


async def fuzz(random: Random, until: Callable[[], bool], address: str) -> AsyncIterator[tuple[str, str]]:
    """Send invalid calls to the Loader at an address until it is time to stop.

    Yields:
        Of every call how it ended, as the name of a status, and what is wrong with that, or nothing.
    """
    async with grpc.aio.insecure_channel(address) as channel:
        data = {name: random.randbytes(200).hex().encode() for name in ("a.txt", "b.txt", "c.pdf")}
        seeds = await _seeds(channel, data)
        while not until():
            calls = [_call(random, channel, seeds, data) for _ in range(_AT_A_TIME)]
            for each in await asyncio.gather(*calls):
                yield each
            if random.random() < 0.02:
                seeds = await _seeds(channel, data)


async def healthy(address: str) -> bool:
    """Whether a load of one file still works."""
    async with grpc.aio.insecure_channel(address) as channel:
        data = {"still.txt": b"Still here."}
        load = (await _create(channel, "still", data)).load
        await _typed(channel, "UploadFile", _upload(load.load_id, "still.txt", data["still.txt"]))
        events = channel.unary_stream(
            f"/{_SERVICE.full_name}/WatchLoad", pb.WatchLoadRequest.SerializeToString, pb.WatchLoadResponse.FromString
        )(pb.WatchLoadRequest(load_id=load.load_id), timeout=_SECONDS)
        last = [event async for event in events][-1]
    return last.HasField("ended")


async def _seeds(channel: grpc.aio.Channel, data: dict[str, bytes]) -> dict[str, list[Message]]:
    """Return valid requests by method; those of an upload are its pieces."""
    load = (await _create(channel, "fuzz", data)).load
    id_ = load.load_id
    return {
        "CreateLoad": [_manifest("fuzz", data), pb.CreateLoadRequest(source_id=load.source_id, files=_files(data))],
        "UploadFile": [piece for name, each in data.items() for piece in _upload(id_, name, each)],
        "WatchLoad": [pb.WatchLoadRequest(load_id=id_), pb.WatchLoadRequest(load_id=id_, after_sequence=3)],
        "GetLoad": [pb.GetLoadRequest(load_id=id_)],
        "ListLoads": [pb.ListLoadsRequest(source_id=load.source_id, page_size=1), pb.ListLoadsRequest()],
        "CancelLoad": [pb.CancelLoadRequest(load_id=id_)],
        "ListFormats": [pb.ListFormatsRequest()],
    }


async def _create(channel: grpc.aio.Channel, source: str, data: dict[str, bytes]) -> pb.CreateLoadResponse:
    create = channel.unary_unary(
        f"/{_SERVICE.full_name}/CreateLoad", pb.CreateLoadRequest.SerializeToString, pb.CreateLoadResponse.FromString
    )
    made: pb.CreateLoadResponse = await create(_manifest(source, data), timeout=_SECONDS)
    return made


async def _typed(channel: grpc.aio.Channel, method: str, pieces: Sequence[Message]) -> None:
    call: Any = channel.stream_unary(f"/{_SERVICE.full_name}/{method}", lambda each: each.SerializeToString())
    await call(_stream(pieces), timeout=_SECONDS)


async def _stream(pieces: Sequence[Any]) -> AsyncIterator[Any]:
    for piece in pieces:
        yield piece


def _files(data: dict[str, bytes]) -> list[FileManifest]:
    return [
        FileManifest(name=name, size=len(each), sha256=hashlib.sha256(each).hexdigest()) for name, each in data.items()
    ]


def _manifest(source: str, data: dict[str, bytes]) -> pb.CreateLoadRequest:
    return pb.CreateLoadRequest(source_name=source, files=_files(data))


def _upload(load_id: str, name: str, data: bytes) -> list[pb.UploadFileRequest]:
    header = pb.UploadFileRequest(header=pb.UploadFileRequest.Header(load_id=load_id, name=name))
    half = len(data) // 2
    return [header, pb.UploadFileRequest(chunk=data[:half]), pb.UploadFileRequest(chunk=data[half:])]


def _raw(method: Any) -> Any:
    """Return a method that takes and returns bytes."""
    return method


async def _call(
    random: Random, channel: grpc.aio.Channel, seeds: dict[str, list[Message]], data: dict[str, bytes]
) -> tuple[str, str]:
    method = random.choice(_SERVICE.methods)
    path = f"/{_SERVICE.full_name}/{method.name}"
    seconds = _WATCH_SECONDS if method.name == "WatchLoad" else _SECONDS
    shown = f"{method.name}"
    cancelled = False
    try:
        if method.name == "UploadFile":
            pieces = _pieces(random, seeds["UploadFile"], data)
            shown += f" {b'|'.join(pieces)[:300].hex()}"
            uploading: Any = _raw(channel.stream_unary(path))(_stream(pieces), timeout=seconds)
            cancelled = random.random() < 0.1 and uploading.cancel()
            await uploading
        else:
            request = _request(random, method.input_type, seeds[method.name])
            shown += f" {request[:300].hex()}"
            if method.name == "WatchLoad":
                async for _ in _raw(channel.unary_stream(path))(request, timeout=seconds):
                    pass
            else:
                await _raw(channel.unary_unary(path))(request, timeout=seconds)
    except grpc.aio.AioRpcError as error:
        if cancelled or error.details() == LOST_ANSWER:  # gRPC's own client calls either INTERNAL
            return "CANCELLED", ""
        return error.code().name, _wrong(error, shown, hung=method.name != "WatchLoad")
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        return "CANCELLED", ""  # by ourselves
    return "OK", ""


def _wrong(error: grpc.aio.AioRpcError, shown: str, *, hung: bool) -> str:
    """Return what is wrong with an error; empty if it is in the error table and has a message."""
    code = error.code()
    if code not in CODES.values() or code is grpc.StatusCode.INTERNAL:
        return f"{shown}: {code.name}: {error.details()}"
    trailers: Any = error.trailing_metadata() or ()
    raw = dict(trailers).get(DETAILS_KEY)
    if raw is None:
        ours = (grpc.StatusCode.CANCELLED, *(() if hung else (grpc.StatusCode.DEADLINE_EXCEEDED,)))
        return "" if code in ours else f"{shown}: {code.name} without details: {error.details()}"
    for detail in status_pb2.Status.FromString(raw).details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == DOMAIN and info.reason:
            return ""
    return f"{shown}: {code.name} without ErrorInfo: {error.details()}"


def _pieces(random: Random, seeds: Sequence[Message], data: dict[str, bytes]) -> list[bytes]:
    """Return an upload: reordered, truncated, mutated, or valid."""
    first = random.randrange(len(data)) * 3
    pieces = [each.SerializeToString() for each in seeds[first : first + 3]]
    match random.randrange(6):
        case 0:
            random.shuffle(pieces)
        case 1:
            pieces = pieces[: random.randrange(3)]
        case 2:
            pieces += [random.choice(seeds).SerializeToString() for _ in range(random.randint(1, 5))]
        case 3:
            pieces = [mutated(random, each) for each in pieces]
        case 4:
            pieces += [_made(random, pb.UploadFileRequest.DESCRIPTOR).SerializeToString()]
    return pieces


def _request(random: Random, kind: Descriptor, seeds: Sequence[Message]) -> bytes:
    """Return a request: random bytes, random fields, or a mutated valid one."""
    match random.randrange(4):
        case 0:
            return random.randbytes(random.randrange(100))
        case 1:
            return _made(random, kind).SerializeToString()
        case 2:
            return mutated(random, random.choice(seeds).SerializeToString())
        case _:
            message = GetMessageClass(kind)()
            message.CopyFrom(random.choice(seeds))
            message.MergeFrom(_made(random, kind))
            return message.SerializeToString()


def _made(random: Random, kind: Descriptor) -> Message:
    """Return a message with random values in some of its fields."""
    message = GetMessageClass(kind)()
    for field in kind.fields:
        if random.random() < 0.5:
            continue
        if field.is_repeated:
            getattr(message, field.name).extend(_value(random, field) for _ in range(random.randint(1, 4)))
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(_made(random, _kind(field)))
        else:
            setattr(message, field.name, _value(random, field))
    return message


def _kind(field: FieldDescriptor) -> Descriptor:
    assert field.message_type is not None
    return field.message_type


def _value(random: Random, field: FieldDescriptor) -> Any:
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return random.choice(_TEXTS)
        case FieldDescriptor.TYPE_BYTES:
            return random.randbytes(random.choice((0, 1, 1000, 65536, 65537)))
        case FieldDescriptor.TYPE_MESSAGE:
            return _made(random, _kind(field))
        case _:
            return random.choice(_NUMBERS)
