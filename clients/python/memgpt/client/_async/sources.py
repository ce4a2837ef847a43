"""Data sources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from google.protobuf.field_mask_pb2 import FieldMask
from memgpt.agent.v1 import agent_service_pb2 as agent_pb
from memgpt.client._async.calls import PAGE_SIZE, AsyncPage, AsyncPages, call
from memgpt.client._ids import new_request_id
from memgpt.client.channel import CALL_TIMEOUT, MODEL_TIMEOUT
from memgpt.client.errors import NotFound
from memgpt.common.v1.reasons import Reason
from memgpt.memory.v1 import source_pb2
from memgpt.memory.v1.passage_pb2 import Passage, PassageHit

if TYPE_CHECKING:
    from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceAsyncStub
    from memgpt.client._async.client import AsyncMemGPT

_NAMED = 8
"""Maximum number of names that an error lists."""


class AsyncSource:
    """A data source.

    Attributes:
        info: The source as it was last read.
    """

    def __init__(self, client: AsyncMemGPT, info: source_pb2.Source) -> None:
        self._client = client
        self.info = info

    def __repr__(self) -> str:
        return f"<Source {self.name!r} {self.source_id}>"

    @property
    def source_id(self) -> str:
        """Id of the source."""
        return self.info.source_id

    @property
    def name(self) -> str:
        """Display name."""
        return self.info.name

    @property
    def passage_count(self) -> int:
        """Number of visible passages."""
        return self.info.passage_count

    def search(self, query: str, **options: Any) -> AsyncPages[PassageHit]:
        """Search the passages of the source; see `AsyncMemory.search` for the options."""
        return self._client.memory.search(query, source_id=self.source_id, **options)

    def files(self) -> AsyncPages[source_pb2.SourceFile]:
        """List the files of the source by name."""
        return self._client.memory.files(self.source_id)

    def passages(self, file_name: str = "") -> AsyncPages[Passage]:
        """List the passages of the source, or of one file, oldest first."""
        return self._client.memory.passages(self.source_id, file_name)

    async def delete_file(self, name: str) -> None:
        """Delete a file with its passages. Idempotent."""
        await self._client.memory.delete_file(self.source_id, name)

    async def rename(self, name: str) -> None:
        """Give the source another name; attached agents keep it.

        Raises:
            AlreadyExists: Another source has the name.
        """
        self.info = (await self._client.sources.update(self.source_id, {"name": name})).info

    async def delete(self) -> None:
        """Delete the source with its passages, and detach it from every agent."""
        await self._client.sources.delete(self.source_id)


class AsyncSources:
    """Data sources."""

    def __init__(self, client: AsyncMemGPT, stub: AgentServiceAsyncStub) -> None:
        self._client = client
        self._stub = stub

    def list(self) -> AsyncPages[AsyncSource]:
        """List all sources in order of creation."""

        async def fetch(token: str) -> AsyncPage[AsyncSource]:
            request = agent_pb.ListSourcesRequest(page_size=PAGE_SIZE, page_token=token)
            response = await call(self._stub.ListSources, request, CALL_TIMEOUT)
            return AsyncPage([AsyncSource(self._client, info) for info in response.sources], response)

        return AsyncPages(fetch)

    async def find(self, name: str) -> AsyncSource:
        """Find a source by name, or else by id.

        Raises:
            NotFound: The source does not exist; the message lists some that do.
        """
        sources = await self.list().all()
        for source in sources:
            if source.name == name:
                return source
        for source in sources:
            if source.source_id == name:
                return source
        known = ", ".join(f'"{source.name}"' for source in sources[:_NAMED])
        if len(sources) > _NAMED:
            known += f" and {len(sources) - _NAMED} more"
        remedy = f"known sources: {known}" if known else "none is loaded yet"
        raise NotFound(Reason.SOURCE_NOT_FOUND, f'unknown data source "{name}"; {remedy}')

    async def update(self, source_id: str, fields: Mapping[str, str], etag: str = "") -> AsyncSource:
        """Change the name or the description of a source.

        Args:
            source_id: Id of the source.
            fields: `name`, `description`, or both, with the new values.
            etag: Etag of the source as it was read; the change fails if it is outdated. Empty to change it in any case.

        Raises:
            Aborted: The etag is outdated.
            AlreadyExists: Another source has the name.
        """
        changed = source_pb2.Source(source_id=source_id, etag=etag, **fields)  # type: ignore[arg-type]
        request = agent_pb.UpdateSourceRequest(source=changed, update_mask=FieldMask(paths=list(fields)))
        return AsyncSource(self._client, (await call(self._stub.UpdateSource, request, CALL_TIMEOUT)).source)

    async def delete(self, source_id: str) -> None:
        """Delete a source with its passages, and detach it from every agent."""
        request = agent_pb.DeleteSourceRequest(source_id=source_id, request_id=new_request_id())
        await call(self._stub.DeleteSource, request, MODEL_TIMEOUT)
