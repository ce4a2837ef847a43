"""Requests to a chat endpoint and the chunks of its answers. The only module that imports ``openai``."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

import openai
from memgpt.endpoints.address import Address
from memgpt.endpoints.refusals import Meaning, Refusal, error_in, understand
from memgpt_runtime import tracing
from openai import AsyncAPIResponse

# It would log every request with its address, which may contain a password.
logging.getLogger("httpx2").setLevel(logging.WARNING)

_MAX_BODY = 4 * 1024 * 1024
_MAX_LINE = 4 * 1024 * 1024
_MAX_EVENT_LINES = 1000
_RAW = {"X-Stainless-Raw-Response": "stream"}
_REST_SECONDS = 0.05
"""Time for what follows `END`, usually an empty chunk that came with it: some servers leave the body open."""

_JSON_BEGINS = ("{", "[", '"')

_FIELD_NAME = re.compile(r"(?:data:\s*)+")
"""The name of the field with an event's data, which servers repeat if they frame events that are framed already."""

_KEEP_ALIVE = re.compile(r"\[?(?:ping|keep[-_ ]?alive|heartbeat)\]?", re.IGNORECASE)
"""Data of events that only keep the connection open."""

_BREAKS = ("RemoteProtocolError", "ReadError", "WriteError", "CloseError", "EndOfStream")
"""Errors of a connection that was made: the endpoint, or a proxy before it, has closed it."""

END = "[DONE]"
"""Comes after the last chunk of a stream that has an end."""

WHOLE = "whole"
"""Comes after the only chunk of an answer that was not streamed."""


class EndpointError(Exception):
    """The endpoint returned no answer. ``refusal`` says why."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.meaning.value)
        self.refusal = refusal


class Transport:
    """Connections to one endpoint."""

    def __init__(self, address: Address, api_key: str, connect_timeout: float) -> None:
        """Prepare a client; nothing is sent yet.

        Args:
            address: The endpoint.
            api_key: Its key; empty for none.
            connect_timeout: Seconds to wait for a connection.
        """
        self._address = address
        self._headers: dict[str, str | openai.Omit] = {**_RAW, **_credential(address, api_key)}
        self._secrets = [api_key, *address.headers.values(), *address.query.values()]
        self._client = openai.AsyncOpenAI(
            api_key=api_key or "none",
            base_url=address.base_url,
            max_retries=0,
            # The reader of the chunks measures silence, since the comments that keep a stream alive are not chunks.
            timeout=openai.Timeout(None, connect=connect_timeout),
            default_headers=dict(address.headers),
            default_query=dict(address.query),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def chunks(self, body: Mapping[str, object], path: str) -> AsyncIterator[object]:
        """Send a request, and yield the chunks of its answer as decoded JSON, then `END` or `WHOLE` if it has an end.

        An answer that was not streamed is one chunk.

        Raises:
            EndpointError: There is no answer, or it stops with an error.
        """
        try:
            # As plain dictionaries: converting every message of a long prompt, and every chunk, to the library's own
            # types takes longer than everything else that the Agent does in a step.
            headers = {**tracing.outgoing_metadata(internal=False), **self._headers}
            response = await self._client.post(
                path,
                body=body,
                cast_to=AsyncAPIResponse[object],
                options={"headers": headers, "follow_redirects": False},
            )
        except openai.APIStatusError as error:
            raise self._refused(error) from None
        except openai.APIError as error:
            raise EndpointError(_unreachable(error)) from error
        try:
            async for chunk in self._events(response):
                yield chunk
        except (openai.APIError, OSError) as error:
            raise EndpointError(_unreachable(error)) from error
        except Exception as error:
            if type(error).__module__.startswith(("httpx", "h11", "httpcore", "anyio")):
                raise EndpointError(_unreachable(error)) from error
            raise
        finally:
            await response.close()

    async def _events(self, response: AsyncAPIResponse[object]) -> AsyncIterator[object]:
        headers = {name.lower(): value for name, value in response.headers.items()}
        status = response.status_code
        reader, pieces = _EventReader(), response.iter_bytes()
        async for data in reader.read(pieces):
            yield self._checked(data, status, headers)
        if reader.done:
            await _read_rest(pieces)
        if not reader.events and not reader.done:
            yield self._whole(reader.rest, status, headers)
        if reader.done or reader.whole:
            yield WHOLE if reader.whole else END

    def _checked(self, data: str, status: int, headers: Mapping[str, str]) -> object:
        """Return the JSON of one event."""
        try:
            chunk = json.loads(data)
            if isinstance(chunk, str) and chunk.startswith(_JSON_BEGINS):  # encoded twice
                chunk = json.loads(chunk)
        except (ValueError, RecursionError):
            if not data.startswith(_JSON_BEGINS):
                raise EndpointError(self._understood(status, data, headers)) from None
            raise EndpointError(
                Refusal(Meaning.UNAVAILABLE, status, data[:1000], "an event that is not JSON")
            ) from None
        if (problem := error_in(chunk)) is not None or isinstance(chunk, str):
            raise EndpointError(self._understood(status, problem or chunk, headers))
        return chunk

    def _whole(self, body: str, status: int, headers: Mapping[str, str]) -> object:
        """Return the only chunk of an answer that was not streamed."""
        text = body.lstrip("\ufeff \r\n\t")
        if not text:
            raise EndpointError(Refusal(Meaning.BROKEN_OFF, status, "", "an empty response"))
        if not text.startswith(_JSON_BEGINS):
            quote = understand(status, text, headers, secrets=self._secrets).quote
            raise EndpointError(Refusal(Meaning.NOT_AN_ENDPOINT, status, text[:1000], quote))
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            raise EndpointError(Refusal(Meaning.BROKEN_OFF, status, text[:1000], "half of a response")) from None
        if (problem := error_in(value)) is not None or isinstance(value, str):
            raise EndpointError(self._understood(status, problem or value, headers))
        return value

    def _refused(self, error: openai.APIStatusError) -> EndpointError:
        headers = {name.lower(): value for name, value in error.response.headers.items()}
        try:
            body: object = error.response.text[:_MAX_BODY]
        except Exception:  # noqa: BLE001 - a body that cannot be read has no information
            body = error.body
        refusal = self._understood(error.status_code, body, headers)
        if refusal.meaning is Meaning.REDIRECTED:
            target = headers.get("location", "").split("?")[0][:200]
            refusal = Refusal(Meaning.REDIRECTED, refusal.status, refusal.text, target)
        return EndpointError(refusal)

    def _understood(self, status: int, body: object, headers: Mapping[str, str]) -> Refusal:
        return understand(status, body, headers, secrets=self._secrets)


class _EventReader:
    """A reader of server-sent events, of JSON by lines, or of the body if there is neither.

    Comments, empty events and a byte order mark are skipped. ``rest`` is the body if there were no events.
    """

    def __init__(self) -> None:
        self.events = self._fields = 0
        self.done = False
        self.rest = ""
        self._buffer = bytearray()
        self._after_return = False
        self._data: list[str] = []

    @property
    def whole(self) -> bool:
        """Whether the body was one JSON text rather than a stream."""
        return self.events < 2 and not self._fields

    async def read(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[str]:
        """Yield the data of each event, until the end or ``[DONE]``."""
        async for piece in pieces:
            searched = len(self._buffer)
            self._buffer += self._with_newlines(piece)
            while (end := self._buffer.find(b"\n", searched)) >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                searched = 0
                for data in self._line(line):
                    if data == END:
                        self.done = True
                        return
                    yield data
            if len(self._buffer) > _MAX_LINE or len(self.rest) > _MAX_BODY:
                raise _endless()
        for data in (*self._line(bytes(self._buffer)), *self._line(b"")):
            if data == END:
                self.done = True
                return
            yield data

    def _with_newlines(self, piece: bytes) -> bytes:
        """Return the next piece of the body, whose lines may end in any of the ways that events allow."""
        if piece and self._after_return:
            piece = piece.removeprefix(b"\n")
            self._after_return = False
        self._after_return = self._after_return or piece.endswith(b"\r")
        return piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _line(self, line: bytes) -> list[str]:
        """Return the data of the events that a line ends."""
        text = line.decode("utf-8", "replace").strip("\r\ufeff")
        if name := _FIELD_NAME.match(text):
            # The blank line between two events is missing sometimes.
            ended = self._flush() if self._data and _is_json("\n".join(self._data)) else []
            self._data.append(text[name.end() :].strip())
            self._fields += 1
            if len(self._data) > _MAX_EVENT_LINES or sum(map(len, self._data)) > _MAX_LINE:
                raise _endless()
            return ended
        if not text.strip():
            return self._flush()
        if text.startswith("{") and (self.events or (not self.rest and _is_json(text))):
            # A line of JSON: an error in the middle of a stream, or a stream in Ollama's own form.
            return [*self._flush(), *self._event(text)]
        if not self.events and not text.startswith((":", "event:", "id:", "retry:")):
            self.rest += text + "\n"
        return []

    def _flush(self) -> list[str]:
        data, self._data = "\n".join(self._data).strip(), []
        return self._event(data) if data else []

    def _event(self, data: str) -> list[str]:
        if _KEEP_ALIVE.fullmatch(data):
            return []
        self.events += 1
        return [END if data.strip('"').upper() == END else data]


async def _read_rest(pieces: AsyncIterator[bytes]) -> None:
    """Read a body to its end after `END`, if it comes at once: only then can the connection serve the next request."""
    with suppress(Exception):  # the answer is complete, whatever follows
        async with asyncio.timeout(_REST_SECONDS):
            async for _ in pieces:
                pass


def _endless() -> EndpointError:
    return EndpointError(Refusal(Meaning.UNAVAILABLE, 0, "", "a response without end"))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text == END
    return True


def _credential(address: Address, api_key: str) -> dict[str, str | openai.Omit]:
    if not api_key or address.key_header == "Authorization":
        return {}
    return {**address.credential(api_key), "Authorization": openai.Omit()}


def _unreachable(error: BaseException) -> Refusal:
    cause = error.__cause__ if isinstance(error, openai.APIConnectionError) and error.__cause__ else error
    broken_off = isinstance(cause, ConnectionError) or type(cause).__name__ in _BREAKS
    return Refusal(Meaning.BROKEN_OFF if broken_off else Meaning.UNAVAILABLE, 0, type(cause).__name__)
