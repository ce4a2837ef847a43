# Generated from memgpt/client/_async by scripts/sync_client.py. Do not edit.
"""Data sources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from google.protobuf.field_mask_pb2 import FieldMask
from memgpt.agent.v1 import agent_service_pb2 as agent_pb
from memgpt.client._ids import new_request_id
from memgpt.client._sync.calls import PAGE_SIZE, Page, Pages, call
from memgpt.client.channel import CALL_TIMEOUT, MODEL_TIMEOUT
from memgpt.client.errors import NotFound
from memgpt.common.v1.reasons import Reason
from memgpt.memory.v1 import source_pb2
from memgpt.memory.v1.passage_pb2 import Passage, PassageHit

if TYPE_CHECKING:
    from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceStub
    from memgpt.client._sync.client import MemGPT

_NAMED = 8
"""Maximum number of names that an error lists."""


class Source:
    """A data source.

    Attributes:
        info: The source as it was last read.
    """

    def __init__(self, client: MemGPT, info: source_pb2.Source) -> None:
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

    def search(self, query: str, **options: Any) -> Pages[PassageHit]:
        """Search the passages of the source; see `Memory.search` for the options."""
        return self._client.memory.search(query, source_id=self.source_id, **options)

    def files(self) -> Pages[source_pb2.SourceFile]:
        """List the files of the source by name."""
        return self._client.memory.files(self.source_id)

    def passages(self, file_name: str = "") -> Pages[Passage]:
        """List the passages of the source, or of one file, oldest first."""
        return self._client.memory.passages(self.source_id, file_name)

    def delete_file(self, name: str) -> None:
        """Delete a file with its passages. Idempotent."""
        self._client.memory.delete_file(self.source_id, name)

    def rename(self, name: str) -> None:
        """Give the source another name; attached agents keep it.

        Raises:
            AlreadyExists: Another source has the name.
        """
        self.info = (self._client.sources.update(self.source_id, {"name": name})).info

    def delete(self) -> None:
        """Delete the source with its passages, and detach it from every agent."""
        self._client.sources.delete(self.source_id)


class Sources:
    """Data sources."""

    def __init__(self, client: MemGPT, stub: AgentServiceStub) -> None:
        self._client = client
        self._stub = stub

    def list(self) -> Pages[Source]:
        """List all sources in order of creation."""

        def fetch(token: str) -> Page[Source]:
            request = agent_pb.ListSourcesRequest(page_size=PAGE_SIZE, page_token=token)
            response = call(self._stub.ListSources, request, CALL_TIMEOUT)
            return Page([Source(self._client, info) for info in response.sources], response)

        return Pages(fetch)

    def find(self, name: str) -> Source:
        """Find a source by name, or else by id.

        Raises:
            NotFound: The source does not exist; the message lists some that do.
        """
        sources = self.list().all()
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

    def update(self, source_id: str, fields: Mapping[str, str], etag: str = "") -> Source:
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
        return Source(self._client, (call(self._stub.UpdateSource, request, CALL_TIMEOUT)).source)

    def delete(self, source_id: str) -> None:
        """Delete a source with its passages, and detach it from every agent."""
        request = agent_pb.DeleteSourceRequest(source_id=source_id, request_id=new_request_id())
        call(self._stub.DeleteSource, request, MODEL_TIMEOUT)
