# Generated from memgpt/client/_async by scripts/sync_client.py. Do not edit.
"""Direct access to Memory: searches, notes, messages and files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from memgpt.client._ids import new_request_id
from memgpt.client._sync.calls import HITS, PAGE_SIZE, Page, Pages, call, stream
from memgpt.client.channel import CALL_TIMEOUT, MODEL_TIMEOUT, STORE_TIMEOUT
from memgpt.memory.v1 import archival_memory_service_pb2 as archival_pb
from memgpt.memory.v1 import recall_memory_service_pb2 as recall_pb
from memgpt.memory.v1 import source_service_pb2 as source_pb
from memgpt.memory.v1 import user_data_service_pb2 as user_pb
from memgpt.memory.v1.archival_memory_service_pb2_grpc import ArchivalMemoryServiceStub
from memgpt.memory.v1.message_pb2 import Message
from memgpt.memory.v1.passage_pb2 import Passage, PassageHit, SearchMode
from memgpt.memory.v1.recall_memory_service_pb2_grpc import RecallMemoryServiceStub
from memgpt.memory.v1.source_pb2 import SourceFile
from memgpt.memory.v1.source_service_pb2_grpc import SourceServiceStub
from memgpt.memory.v1.user_data_service_pb2_grpc import UserDataServiceStub

_MODES = {
    "": SearchMode.SEARCH_MODE_UNSPECIFIED,
    "hybrid": SearchMode.SEARCH_MODE_HYBRID,
    "dense": SearchMode.SEARCH_MODE_DENSE,
    "text": SearchMode.SEARCH_MODE_TEXT,
}


def _timestamp(when: datetime | None) -> Timestamp | None:
    if when is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(when)
    return timestamp


class Memory:
    """Searches and lists of agents' memories and of sources."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._archival: ArchivalMemoryServiceStub = ArchivalMemoryServiceStub(channel)
        self._recall: RecallMemoryServiceStub = RecallMemoryServiceStub(channel)
        self._users: UserDataServiceStub = UserDataServiceStub(channel)
        self._sources: SourceServiceStub = SourceServiceStub(channel)

    def search(
        self,
        query: str,
        *,
        agent_id: str = "",
        source_id: str = "",
        mode: str = "",
        source_ids: Sequence[str] = (),
        file_names: Sequence[str] = (),
        tags: Sequence[str] = (),
        created_from: datetime | None = None,
        created_before: datetime | None = None,
        page_size: int = HITS,
    ) -> Pages[PassageHit]:
        """Rank all passages by a query; pages can be read to the last passage.

        Args:
            query: Keywords or a question.
            agent_id: Id of an agent, to search its notes and attached sources.
            source_id: Id of a source to search. Give either this or `agent_id`.
            mode: ``hybrid``, ``dense`` (by similarity) or ``text`` (by keywords); the store's best if empty.
            source_ids: Only passages of these sources.
            file_names: Only passages of these files.
            tags: Only passages with all of these tags.
            created_from: Only passages stored at or after this instant, which must have a time zone.
            created_before: Only passages stored before this instant.
            page_size: Number of hits per page.
        """
        scope = archival_pb.PassageScope(agent_id=agent_id)
        if source_id:
            scope.source_id = source_id
        wanted = archival_pb.PassageFilter(
            source_ids=source_ids,
            file_names=file_names,
            tags=tags,
            created_from=_timestamp(created_from),
            created_before=_timestamp(created_before),
        )

        def fetch(token: str) -> Page[PassageHit]:
            request = archival_pb.SearchPassagesRequest(
                scope=scope, query=query, mode=_MODES[mode], filter=wanted, page_size=page_size, page_token=token
            )
            response = self.search_passages(request)
            return Page(response.hits, response)

        return Pages(fetch)

    def search_passages(self, request: archival_pb.SearchPassagesRequest) -> archival_pb.SearchPassagesResponse:
        """Return one page of a search."""
        return call(self._archival.SearchPassages, request, CALL_TIMEOUT)

    def list_passages(
        self, scope: archival_pb.PassageScope, wanted: archival_pb.PassageFilter | None = None
    ) -> Pages[Passage]:
        """List the passages of an agent or a source that match a filter, oldest first."""

        def fetch(token: str) -> Page[Passage]:
            request = archival_pb.ListPassagesRequest(scope=scope, filter=wanted, page_size=PAGE_SIZE, page_token=token)
            response = call(self._archival.ListPassages, request, CALL_TIMEOUT)
            return Page(response.passages, response)

        return Pages(fetch)

    def notes(self, agent_id: str) -> Pages[Passage]:
        """List an agent's own notes, oldest first."""

        def fetch(token: str) -> Page[Passage]:
            request = archival_pb.ListPassagesRequest(
                scope=archival_pb.PassageScope(agent_id=agent_id), page_size=PAGE_SIZE, page_token=token
            )
            response = call(self._archival.ListPassages, request, CALL_TIMEOUT)
            return Page([each for each in response.passages if not each.HasField("citation")], response)

        return Pages(fetch)

    def add_notes(self, agent_id: str, texts: Sequence[str], tags: Sequence[str] = ()) -> Sequence[Passage]:
        """Store notes of an agent, all or nothing, and return their passages: several for a long text.

        Args:
            agent_id: The agent.
            texts: At most 256 texts of at most 1 MiB each.
            tags: Tags for all of them.
        """
        request = archival_pb.InsertPassagesRequest(
            agent_id=agent_id, texts=texts, tags=tags, request_id=new_request_id()
        )
        return (call(self._archival.InsertPassages, request, STORE_TIMEOUT)).passages

    def delete_notes(self, agent_id: str, passage_ids: Sequence[str]) -> int:
        """Delete notes of an agent and return the number of deleted ones."""
        request = archival_pb.DeletePassagesRequest(agent_id=agent_id, passage_ids=passage_ids)
        return (call(self._archival.DeletePassages, request, CALL_TIMEOUT)).deleted_count

    def forget_notes(self, agent_id: str, passage_ids: Sequence[str]) -> archival_pb.ForgetPassagesResponse:
        """Forget notes of an agent for good, with the messages that hold their texts word for word. Idempotent."""
        request = archival_pb.ForgetPassagesRequest(agent_id=agent_id, passage_ids=passage_ids)
        return call(self._archival.ForgetPassages, request, MODEL_TIMEOUT)

    def forget_messages(self, agent_id: str, sequences: Sequence[int]) -> int:
        """Forget messages of an agent for good and return how many, copies and calls included. Idempotent."""
        request = recall_pb.ForgetMessagesRequest(agent_id=agent_id, sequences=sequences)
        return (call(self._recall.ForgetMessages, request, MODEL_TIMEOUT)).forgotten_count

    def export_user(self, user_id: str) -> Iterator[user_pb.ExportUserResponse]:
        """Yield everything about a user: shared blocks, then the pieces of each agent."""
        for response in stream(self._users.ExportUser(user_pb.ExportUserRequest(user_id=user_id))):
            yield response

    def erase_user(self, user_id: str, request_id: str = "") -> user_pb.EraseUserResponse:
        """Delete everything about a user and return the receipt.

        Args:
            user_id: The user.
            request_id: The same id again continues an interrupted erasure; a new one if empty.
        """
        request = user_pb.EraseUserRequest(user_id=user_id, request_id=request_id or new_request_id())
        return call(self._users.EraseUser, request, STORE_TIMEOUT)

    def passages(self, source_id: str, file_name: str = "") -> Pages[Passage]:
        """List the passages of a source, or of one of its files, oldest first."""
        wanted = archival_pb.PassageFilter(file_names=[file_name]) if file_name else None
        return self.list_passages(archival_pb.PassageScope(source_id=source_id), wanted)

    def files(self, source_id: str) -> Pages[SourceFile]:
        """List the files of a source by name."""

        def fetch(token: str) -> Page[SourceFile]:
            request = source_pb.ListFilesRequest(source_id=source_id, page_size=PAGE_SIZE, page_token=token)
            response = call(self._sources.ListFiles, request, CALL_TIMEOUT)
            return Page(response.files, response)

        return Pages(fetch)

    def delete_file(self, source_id: str, name: str) -> None:
        """Delete a file of a source with its passages. Idempotent."""
        request = source_pb.DeleteFileRequest(source_id=source_id, name=name)
        call(self._sources.DeleteFile, request, MODEL_TIMEOUT)

    def messages(self, agent_id: str) -> Pages[Message]:
        """List all messages of an agent, the latest first."""

        def fetch(token: str) -> Page[Message]:
            request = recall_pb.ListMessagesRequest(agent_id=agent_id, page_size=PAGE_SIZE, page_token=token)
            response = call(self._recall.ListMessages, request, CALL_TIMEOUT)
            return Page(response.messages, response)

        return Pages(fetch)

    def search_messages(self, request: recall_pb.SearchMessagesRequest) -> recall_pb.SearchMessagesResponse:
        """Return one page of a search in an agent's messages.

        The first search by similarity takes longer, because it embeds all messages of the agent.
        """
        return call(self._recall.SearchMessages, request, MODEL_TIMEOUT)
