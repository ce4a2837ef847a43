"""Fuzzes the isolation of tenants: hostile requests for every RPC, with credentials, ids, names and tokens swapped.

python -m tests.fuzz.tenants --requests 10000

Two tenants send requests that mix what is theirs with what belongs to a third one, which sends none. All RPCs take
turns, with dozens of calls in flight, so that what one deletes another has created. What is found is printed for each
RPC, and the exit code is 1 if anything is:

- a response or an error with something of another tenant that the request did not name
- an error about another tenant's id, name or token that differs from the one about an invented one
- a status that is not in the table of errors
- a change of anything that the third tenant owns
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import re
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import Any, cast
from uuid import uuid4

import grpc
import jwt
import protovalidate
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from memgpt.agent.v1 import agent_service_pb2 as agent_pb
from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from memgpt.common.v1.permission_pb2 import PERMISSION_INTERNAL
from memgpt.loader.v1 import loader_service_pb2 as loader_pb
from memgpt.loader.v1.load_pb2 import FileManifest
from memgpt.loader.v1.loader_service_pb2_grpc import LoaderServiceStub
from memgpt_runtime.auth.permissions import declared
from memgpt_runtime.ids import new_id
from memgpt_runtime.status import LOST_ANSWER, from_rpc_error

from tests.fuzz.tenant_contents import Contents, fill, snapshot
from tests.support.contracts import service_methods
from tests.support.credentials import SERVERS, GuardedSuite, Metadata, bearer
from tests.support.issuer import AUDIENCE, ISSUER, Issuer

ATTACKERS = ("acme", "globex")
VICTIM = "victim"

_KEY_ID = "key"
_TOKEN_SECONDS = 24 * 3600

_SECONDS = 60.0
_STREAM_SECONDS = 1.0
_WORKERS = 48
_KEPT = 8
_ATTEMPTS = 3
_FOLLOWS = ("WatchLoad", "ResumeTurn", "BeginTurn", "ReadTurn")
_OF_NO_TENANT = "ResolveApiKeys"
"""Services call it for themselves, to check the keys of every tenant."""

_STRANGE = ("", " ", "a", "\0", "é" * 700, "../../etc/passwd", "' or 1 == 1", "\U0001f98a", "x" * 200)
_NUMBERS = (0, 0, 1, 1, 2, 50)
_STRANGE_NUMBERS = (-1, 1001, 2**31 - 1)
_FRESH_CHANCE = 0.7
"""For the request_id. One of another request ends most requests before anything is looked for."""
_STRANGE_CHANCE = 0.05
"""For each value. Of a request with many of them, most would end before anything is looked for."""
_INVALID_CHANCE = 0.2
_VALID_ATTEMPTS = 30
_HEADER_ATTEMPTS = 100
_BEGINNINGS = {"ImportAgent": ("header", "agent"), "UpsertPassages": ("header",), "UploadFile": ("header",)}
"""The fields of the first messages of a stream."""

_PLAUSIBLE = {
    "sha256": bytes(32).hex(),
    "time_zone": "UTC",
    "start_date": "2026-01-01",
    "end_date": "2030-12-31",
    "cron": "0 9 * * *",
    "address": "127.0.0.1:9",
    "media_type": "text/plain",
    "etag": "",
    "parameters": "{}",
    "plan": "{}",
    "system": "",
    "time_placeholder": "",
    "chunker_version": "1",
    "tenant": "",
}
_TRUSTED = ("memgpt.memory.v1.ToolFunction.parameters", "memgpt.memory.v1.Heartbeats.plan")
"""Fields that only the Agent writes, with values that it has checked. Memory stores them, and the Agent reads them."""

_CHOSEN_BY_CALLER = "memgpt.memory.v1.LoadRecord"
"""Has ids that its caller chooses: an attacker that takes the victim's has an own record of these ids afterwards, so
that they are not compared with invented ones."""

_DELETIONS = ("DeleteAgent", "DeleteSource", "EraseUser")
"""After one of these, the attacker gets something new, or soon nothing would be left that requests can be about."""


@dataclass
class _Pool:
    """Values by the name of the field that takes them, and by the tenant that owns them."""

    values: dict[str, dict[str, deque[str]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(lambda: deque(maxlen=_KEPT)))
    )

    def add(self, tenant: str, values: Iterable[tuple[str, str]]) -> None:
        for name, value in values:
            known = self.values[name][tenant]
            if value and value not in known:
                known.append(value)

    def choose(self, random: Random, name: str, tenant: str) -> str:
        """Return a value of the tenant, of the victim, of anyone, or an invented one."""
        owners = self.values[name]
        if name == "request_id" and random.random() < _FRESH_CHANCE:
            return new_id("request")
        owner = random.choice((tenant, tenant, tenant, VICTIM, VICTIM, random.choice(ATTACKERS), ""))
        return random.choice(owners[owner]) if owners.get(owner) else invented(name)


def invented(name: str) -> str:
    """Return a value that nobody has."""
    if name.endswith("_id") and name not in ("request_id", "user_id"):
        return new_id(name.removesuffix("_id").removeprefix("api_").removeprefix("shared_"))
    if name == "page_token":
        return base64.urlsafe_b64encode(b"\x01" + uuid4().bytes * 3).decode().rstrip("=")  # of the form of one
    return new_id("invented")


def _server(method: MethodDescriptor) -> str:
    """Return the server that has a method; empty if none of the suite does."""
    return SERVERS.get(method.containing_service.file.package, "")


@cache
def _pool_name(field: FieldDescriptor) -> str:
    """Return the name under which values of a field are pooled; empty for texts of no tenant."""
    name = "block_id" if field.name == "shared_block_id" else field.name
    if field.full_name.startswith(f"{_CHOSEN_BY_CALLER}.") and name in ("load_id", "request_id"):
        return f"{name} of its caller"
    if field.is_repeated and name.endswith("_ids"):
        name = name.removesuffix("s")
    names = {"source_name": "name", "file_names": "name", "tag": "tags", "used_api_key_id": "api_key_id"}
    name = names.get(name, name)
    ids = ("agent_id", "source_id", "load_id", "block_id", "api_key_id", "passage_id", "request_id", "user_id")
    return name if name in (*ids, "name", "page_token", "tags", "tenant", "label", "message_id") else ""


@contextmanager
def target(home: Path) -> Iterator[tuple[GuardedSuite, Issuer]]:
    """Start the suite that is attacked, and the issuer whose tokens it accepts."""
    with Issuer() as issuer:
        issuer.add(_KEY_ID)
        settings = {
            "MEMGPT_SERVER_JWT_ISSUER": ISSUER,
            "MEMGPT_SERVER_JWT_AUDIENCE": AUDIENCE,
            "MEMGPT_SERVER_JWT_JWKS": issuer.address,
            "MEMGPT_SERVER_LOG_LEVEL": "warning",
            "MEMGPT_MEMORY_SYNC": "never",  # nothing crashes here, so that no write need wait for the disk
        }
        with GuardedSuite(home, **settings) as suite:
            yield suite, issuer


def _forged_tokens(issuer: Issuer) -> Iterator[str]:
    """Yield tokens of the victim's administrator that the issuer did not sign."""
    claims: dict[str, Any] = {"tenant": VICTIM, "role": "admin", "exp": time.time() + _TOKEN_SECONDS}
    stranger = Issuer()
    stranger.add(_KEY_ID)
    signed = stranger.token(_KEY_ID, **claims)
    yield signed
    claims |= {"iss": ISSUER, "aud": AUDIENCE, "sub": "mallory"}
    yield jwt.encode(claims, "", "none", {"kid": _KEY_ID})
    yield jwt.encode(claims, issuer.jwks().hex(), "HS256", {"kid": _KEY_ID})
    head, _, signature = issuer.token(_KEY_ID, tenant=ATTACKERS[0]).split(".")
    yield f"{head}.{signed.split('.')[1]}.{signature}"


class Fuzzer:
    """Sends hostile requests, and says what is wrong.

    Attributes:
        outcomes: Number of hostile requests by status, by the full name of the RPC.
        calls: Number of calls, with those that compare two outcomes.
        found: What is wrong, by the full name of the RPC.
    """

    def __init__(self, suite: GuardedSuite, issuer: Issuer, random: Random) -> None:
        self.outcomes: dict[str, Counter[str]] = defaultdict(Counter)
        self.calls = 0
        self.found: dict[str, list[str]] = defaultdict(list)
        self._suite = suite
        self._issuer = issuer
        self._forged: Sequence[Metadata] = ()
        self._random = random
        self._pool = _Pool()
        self._contents: dict[str, Contents] = {}
        self._credentials: dict[str, list[Metadata]] = {}
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._stubs: dict[str, Any] = {}
        self._secrets = re.compile(b"")
        self._narrow: dict[str, str] = {}
        self._victim_key: Metadata = ()

    async def run(self, requests: int, only: str = "", minutes: float = float("inf")) -> None:
        """Send a number of requests to every RPC, of all whose names contain a text; stop early after some minutes."""
        self._prepare()
        before = snapshot(self._suite, self._victim_key)
        addresses = {
            "agent": self._suite.agent_address,
            "loader": self._suite.loader_address,
            "memory": self._suite.memory_address,
        }
        self._channels = {name: grpc.aio.insecure_channel(address) for name, address in addresses.items()}
        methods = [method for method in service_methods() if only in method.full_name and _server(method)]
        turns = (method for _ in range(requests) for method in self._random.sample(methods, len(methods)))
        until = time.monotonic() + minutes * 60

        async def work() -> None:
            for method in turns:
                if time.monotonic() >= until:
                    return
                tenant = self._random.choice(ATTACKERS)
                await self._attack(method, tenant, self._credential(method, tenant))

        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(_WORKERS):
                    workers.create_task(work())
        finally:
            for channel in self._channels.values():
                await channel.close()
        after = snapshot(self._suite, self._victim_key)
        changed = [what for what in before if before[what] != after.get(what)]
        if changed:
            self.found["all"] += [f"{what} of the victim has changed" for what in changed]

    def _prepare(self) -> None:
        suite = self._suite
        for tenant in (*ATTACKERS, VICTIM):
            suite.create_tenant(tenant)
            admin = bearer(suite.create_key("admin", "admin", tenant)[1])
            contents = self._contents[tenant] = fill(suite, tenant, admin)
            self._pool.add(tenant, contents.known)
            if tenant == VICTIM:
                self._victim_key = admin
                continue
            agent_id, source_id = (
                next(value for name, value in contents.known if name == wanted) for wanted in ("agent_id", "source_id")
            )
            self._narrow[tenant] = agent_id
            narrow = suite.create_key("narrow", "user", tenant, agent_ids=[agent_id], source_ids=[source_id])[1]
            roles = [bearer(suite.create_key(role, role, tenant)[1]) for role in ("reader", "user")]
            token = self._issuer.token(_KEY_ID, tenant=tenant, role="admin", exp=time.time() + _TOKEN_SECONDS)
            self._credentials[tenant] = [admin, admin, *roles, bearer(narrow), bearer(token)]
        self._forged = [bearer(token) for token in _forged_tokens(self._issuer)]
        secrets = {value for contents in self._contents.values() for value in contents.secrets}
        self._secrets = re.compile(b"|".join(re.escape(value) for value in sorted(secrets, key=len, reverse=True)))

    def _credential(self, method: MethodDescriptor, tenant: str) -> Metadata:
        internal = declared(method) == PERMISSION_INTERNAL and method.name != _OF_NO_TENANT
        return self._on_behalf(tenant) if internal else self._metadata(tenant)

    def _on_behalf(self, tenant: str) -> Metadata:
        """Return the credentials of a service that calls on behalf of the tenant: mostly; else its own ones."""
        random = self._random
        if random.random() < 0.1:
            return self._metadata(tenant)
        claim = f"tenant={tenant};role={random.choice(('reader', 'user', 'admin'))}"
        if random.random() < 0.2:
            claim += f";agents={self._narrow[tenant]}"
        return (*bearer(self._suite.service_key), ("x-memgpt-principal", claim))

    def _metadata(self, tenant: str) -> Metadata:
        """Return credentials: mostly valid ones of the tenant; else broken ones, or a forged principal."""
        random = self._random
        metadata = random.choice(self._credentials[tenant])
        match random.randrange(20):
            case 0:
                return bearer(f"mgpt_{'0' * 26}_{'A' * 43}")
            case 1:
                return (*metadata, ("x-memgpt-principal", f"tenant={VICTIM};role=service"))
            case 2:
                return (*metadata, ("authorization", "Bearer x"))
            case 3:
                token = str(metadata[0][1])
                return (("authorization", token[:-1] + ("A" if token[-1] != "A" else "B")),)
            case 4:
                return random.choice(self._forged)
        return metadata

    async def _attack(self, method: MethodDescriptor, tenant: str, metadata: Metadata) -> None:
        sent = self._requests(method, tenant)
        ended = await self._call(method, sent, metadata)
        self.outcomes[method.full_name][ended.code] += 1
        wrong = [f"tells {value!r} of {owner}" for owner, value in self._leaks(tenant, sent, ended)]
        if ended.code in ("INTERNAL", "UNKNOWN", "DATA_LOSS"):
            wrong.append(ended.message)
        if ended.code == "OK":
            found = _harvest(ended.responses)
            self._pool.add(tenant, (one for one in found if not self._secrets.search(one[1].encode())))
            if method.name in _DELETIONS:
                wrong += await self._replenish(tenant)
        elif not (method.client_streaming or method.server_streaming) and (twin := self._twin(sent)) is not None:
            wrong += await self._compare(method, sent, twin, metadata, ended)
        for each in wrong:
            shown = f"{tenant} {' '.join(map(str, sent))[:600]!r}: {ended.code}: {each}"
            self.found[method.full_name].append(shown)

    async def _replenish(self, tenant: str) -> list[str]:
        """Create an agent and a source of an attacker, and return what failed."""
        admin, channels = self._credentials[tenant][0], self._channels
        agents: Any = AgentServiceStub(channels["agent"])
        loader: Any = LoaderServiceStub(channels["loader"])
        new = agent_pb.CreateAgentRequest(name=new_id("agent"), user_id=f"user-known-{tenant}")
        manifest = FileManifest(name="a.txt", size=1, sha256=bytes(32).hex())
        load = loader_pb.CreateLoadRequest(source_name=new_id("source"), files=[manifest])
        wrong = []
        for create, request in ((agents.CreateAgent, new), (loader.CreateLoad, load)):
            try:
                created = await create(request, metadata=admin, timeout=_SECONDS)
            except grpc.aio.AioRpcError as error:
                ended = _failed(error, ())
                if ended.code != "CANCELLED":
                    wrong.append(f"{request.DESCRIPTOR.name} to replenish is {ended.code}: {ended.message}")
            else:
                self._pool.add(tenant, _harvest([created]))
        return wrong

    def _leaks(self, tenant: str, sent: Sequence[Message], ended: _Outcome) -> Iterator[tuple[str, bytes]]:
        """Yield what a response tells of other tenants that its request did not name."""
        leaked = {value for value in self._secrets.findall(ended.raw) if value}
        if leaked:
            request = b"".join(message.SerializeToString() for message in sent)
            for owner, contents in self._contents.items():
                if owner != tenant:
                    yield from (
                        (owner, value) for value in contents.secrets if value in leaked and value not in request
                    )

    async def _compare(
        self,
        method: MethodDescriptor,
        sent: Sequence[Message],
        twin: Sequence[Message],
        metadata: Metadata,
        ended: _Outcome,
    ) -> list[str]:
        """Check that the victim's values and invented ones have the same outcome.

        The attackers' own calls at the same time may change it, so only a difference that stays counts.
        """
        outcomes = [_essence(ended, sent), _essence(await self._call(method, twin, metadata), twin)]
        for _ in range(_ATTEMPTS):
            if outcomes[0] == outcomes[1]:
                return []
            outcomes = []
            for messages in (sent, twin):
                for message in messages:
                    if "request_id" in message.DESCRIPTOR.fields_by_name:
                        cast("Any", message).request_id = new_id("fresh")
                ended = await self._call(method, messages, metadata)
                outcomes.append(_essence(ended, messages))
                if ended.reason == "NAME_TAKEN" and not self._names_victim(ended):
                    return []  # the attacker has something of this name by now
        return [f"differs from an invented one: {outcomes}"] if outcomes[0] != outcomes[1] else []

    def _names_victim(self, ended: _Outcome) -> bool:
        """Whether an error holds an id of the victim, such as that of the holder of a name."""
        owned = (owners.get(VICTIM, ()) for name, owners in self._pool.values.items() if name.endswith("_id"))
        return any(value.encode() in ended.raw for values in owned for value in values)

    def _twin(self, sent: Sequence[Message]) -> list[Message] | None:
        """Return the same messages with invented values in place of the victim's; None if there are none.

        Equal values stay equal, since a request may not name a thing twice.
        """
        twins, changed, inventions = [], False, dict[tuple[str, str], str]()
        for message in sent:
            twin = type(message)()
            twin.CopyFrom(message)
            changed |= self._replace(twin, inventions)
            twins.append(twin)
        return twins if changed else None

    def _replace(self, message: Message, inventions: dict[tuple[str, str], str]) -> bool:
        changed = False
        for each, value in list(message.ListFields()):
            name = _pool_name(each)
            if each.message_type is not None:
                for inner in value if each.is_repeated else (value,):
                    changed |= self._replace(inner, inventions)
            elif name and not each.is_repeated and value in self._pool.values[name].get(VICTIM, ()):
                setattr(message, each.name, inventions.setdefault((name, value), invented(name)))
                changed = True
        return changed

    def _requests(self, method: MethodDescriptor, tenant: str) -> list[Message]:
        """Return one request, or those of a stream, which mostly begins as it should."""
        if not method.client_streaming:
            return [self._request(method.input_type, tenant)]
        begins = _BEGINNINGS[method.name] if self._random.random() > _INVALID_CHANCE else ()
        sent = [self._with(method.input_type, tenant, field) for field in begins]
        return sent + [self._request(method.input_type, tenant) for _ in range(self._random.randint(1, 3))]

    def _with(self, kind: Descriptor, tenant: str, field: str) -> Message:
        """Return a request that has a field, or whose first field has it; some other one if that takes too long."""
        for _ in range(_HEADER_ATTEMPTS):
            message = self._request(kind, tenant)
            value = message.ListFields()[0][1] if message.ListFields() else message
            if field in {each.name for part in (message, value) for each, _ in _fields(part)}:
                break
        return message

    def _request(self, kind: Descriptor, tenant: str, depth: int = 0) -> Message:
        """Return a message whose fields are mostly plausible, and that mostly keeps the constraints of its type."""
        attempts = 1 if self._random.random() < _INVALID_CHANCE else _VALID_ATTEMPTS
        for _ in range(attempts):
            message = self._message(kind, tenant, depth)
            if not protovalidate.collect_violations(message):
                break
        return message

    def _message(self, kind: Descriptor, tenant: str, depth: int) -> Message:
        random, message = self._random, message_factory.GetMessageClass(kind)()
        kept = {oneof.name: random.choice(oneof.fields).name for oneof in kind.oneofs}
        for each in kind.fields:
            oneof = each.containing_oneof
            pooled = _pool_name(each) not in ("", "page_token")  # a token belongs to one request; most others refuse it
            chance = 0.85 if pooled or oneof is not None else 0.35
            if each.full_name in _TRUSTED:
                chance = 1.0
            if random.random() > chance or (oneof is not None and kept[oneof.name] != each.name) or depth > 4:
                continue
            if each.is_repeated:
                if each.message_type is not None and each.message_type.GetOptions().map_entry:
                    continue
                getattr(message, each.name).extend(
                    self._value(each, tenant, depth) for _ in range(random.randint(1, 2))
                )
            elif each.message_type is not None:
                getattr(message, each.name).CopyFrom(self._value(each, tenant, depth))
            else:
                setattr(message, each.name, self._value(each, tenant, depth))
        return message

    def _value(self, each: FieldDescriptor, tenant: str, depth: int) -> Any:
        random = self._random
        if each.message_type is not None:
            full_name = each.message_type.full_name
            if full_name == "google.protobuf.Timestamp":
                return message_factory.GetMessageClass(each.message_type)(
                    seconds=int(time.time()) + random.choice(_SHIFTS)
                )
            if full_name == "google.protobuf.Duration":
                return message_factory.GetMessageClass(each.message_type)(seconds=random.choice((0, 1, 3600, 3600, -1)))
            if full_name == "google.protobuf.FieldMask":
                return FieldMask(paths=random.choice(_MASKS))
            return self._request(each.message_type, tenant, depth + 1)
        if each.enum_type is not None:
            values = each.enum_type.values
            return random.choice(values if random.random() < _STRANGE_CHANCE else values[1:]).number
        match each.type:
            case FieldDescriptor.TYPE_STRING:
                name = _pool_name(each)
                if random.random() < _STRANGE_CHANCE:
                    return random.choice(_STRANGE)
                if each.full_name in _TRUSTED or (each.name in _PLAUSIBLE and random.random() < 0.8):
                    return _PLAUSIBLE[each.name]
                return self._pool.choose(random, name, tenant) if name else random.choice(_WORDS)
            case FieldDescriptor.TYPE_BYTES:
                return random.randbytes(random.choice((0, 1, 100)))
            case FieldDescriptor.TYPE_BOOL:
                return random.random() < 0.5
            case FieldDescriptor.TYPE_DOUBLE | FieldDescriptor.TYPE_FLOAT:
                return random.choice((0.0, 0.5, -1.0))
            case FieldDescriptor.TYPE_UINT32 | FieldDescriptor.TYPE_UINT64:
                return abs(self._number())
            case _:
                return self._number()

    def _number(self) -> int:
        numbers = _STRANGE_NUMBERS if self._random.random() < _STRANGE_CHANCE else _NUMBERS
        return self._random.choice(numbers)

    def _stub(self, method: MethodDescriptor) -> Any:
        stub = self._stubs.get(method.full_name)
        if stub is None:
            path = f"/{method.containing_service.full_name}/{method.name}"
            parse = message_factory.GetMessageClass(method.output_type).FromString
            kinds = [
                "stream" if streamed else "unary" for streamed in (method.client_streaming, method.server_streaming)
            ]
            connect = getattr(self._channels[_server(method)], "_".join(kinds))
            stub = self._stubs[method.full_name] = connect(path, lambda message: message.SerializeToString(), parse)
        return stub

    async def _call(self, method: MethodDescriptor, sent: Sequence[Message], metadata: Metadata) -> _Outcome:
        self.calls += 1
        stub, seconds = self._stub(method), _STREAM_SECONDS if method.name in _FOLLOWS else _SECONDS
        responses: list[Message] = []
        try:
            call = stub(_stream(sent) if method.client_streaming else sent[0], metadata=metadata, timeout=seconds)
            if method.server_streaming:
                async for response in call:
                    responses.append(response)
            else:
                responses.append(await call)
        except grpc.aio.AioRpcError as error:
            return _failed(error, responses)
        return _Outcome("OK", "", "", responses, b"".join(each.SerializeToString() for each in responses))


_MASKS = (["name"], ["name"], ["description"], ["description", "name"], ["user_id"], ["value"], ["tags", "nonsense"])
_SHIFTS = (-100_000, -1, 0, 1, 3600)
_WORDS = ("word", "persona", "human", "UTC", "What did they say?", "memgpt_chat", "{}")


@dataclass(frozen=True)
class _Outcome:
    """How a call ended; `raw` has everything that the caller received."""

    code: str
    reason: str
    message: str
    responses: Sequence[Message]
    raw: bytes


def _failed(error: grpc.aio.AioRpcError, responses: Sequence[Message]) -> _Outcome:
    code = "CANCELLED" if error.details() == LOST_ANSWER else error.code().name
    parts = [each.SerializeToString() for each in responses]
    parts.append((error.details() or "").encode())
    trailers: Any = error.trailing_metadata() or ()
    for _, value in trailers:
        parts.append(value if isinstance(value, bytes) else str(value).encode())
    return _Outcome(code, str(from_rpc_error(error).reason), error.details() or "", responses, b"\n".join(parts))


async def _stream(sent: Sequence[Message]) -> AsyncIterator[Message]:
    for message in sent:
        yield message


def _harvest(messages: Iterable[Message]) -> Iterable[tuple[str, str]]:
    """Yield the ids and page tokens in responses. Not those of keys: the attackers would revoke their own."""
    for message in messages:
        for each, value in message.ListFields():
            if each.message_type is not None:
                if not (each.is_repeated and each.message_type.GetOptions().map_entry):
                    yield from _harvest(value if each.is_repeated else (value,))
            elif each.type == FieldDescriptor.TYPE_STRING and not each.is_repeated:
                name = "page_token" if each.name == "next_page_token" else _pool_name(each)
                if name and name not in ("name", "tenant", "api_key_id", "label", "tags"):
                    yield name, value


def _essence(ended: _Outcome, sent: Sequence[Message]) -> tuple[str, str, str]:
    """Return what must not depend on whether another tenant has what a request names."""
    return ended.code, ended.reason, _without(ended.message, sent)


def _without(text: str, sent: Sequence[Message]) -> str:
    """Return the text of an error without the values of its request, longest first."""
    values = sorted({value for message in sent for value in _texts(message) if value}, key=len, reverse=True)
    for value in values:
        if len(value) > 8:  # shorter ones may be words of the error
            text = text.replace(value, "…")
    return text


def _fields(value: object) -> Sequence[tuple[FieldDescriptor, Any]]:
    return value.ListFields() if isinstance(value, Message) else ()


def _texts(message: Message) -> Iterable[str]:
    for each, value in message.ListFields():
        if each.message_type is not None:
            for inner in value if each.is_repeated else (value,):
                if isinstance(inner, Message):
                    yield from _texts(inner)
        elif each.type == FieldDescriptor.TYPE_STRING:
            yield from value if each.is_repeated else (value,)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.tenants", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000, help="for each RPC (default: 1,000)")
    parser.add_argument("--seed", type=int, default=None, help="to repeat a run (default: the time)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after this time (default: never)")
    parser.add_argument("--only", default="", help="RPCs whose full names contain this")
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    home = Path(mkdtemp(prefix="memgpt-fuzz-"))
    sys.stdout.write(f"seed {seed}, home {home}\n")
    with target(home) as (suite, issuer):
        fuzzer = Fuzzer(suite, issuer, Random(seed))
        started = time.monotonic()
        asyncio.run(fuzzer.run(options.requests, options.only, options.minutes))
        seconds = time.monotonic() - started
    sys.stdout.write(report(fuzzer, seconds))
    return 1 if fuzzer.found else 0


def report(fuzzer: Fuzzer, seconds: float) -> str:
    """Return the figures of each RPC, their sums, and what is wrong."""
    lines = []
    for rpc, outcomes in sorted(fuzzer.outcomes.items()):
        statuses = ", ".join(f"{number:,} {status}" for status, number in outcomes.most_common())
        lines.append(f"{rpc}: {outcomes.total():,} requests, {len(fuzzer.found.get(rpc, ()))} wrong: {statuses}")
    total = sum(outcomes.total() for outcomes in fuzzer.outcomes.values())
    wrong = sum(map(len, fuzzer.found.values()))
    rate = f"{total / seconds:.0f} requests/s, {fuzzer.calls / seconds:.0f} calls/s"
    lines.append(f"{total:,} requests for {len(fuzzer.outcomes)} RPCs in {seconds:.0f} s ({rate}): {wrong} wrong")
    lines += [f"  {rpc}: {each}" for rpc, found in fuzzer.found.items() for each in found]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
