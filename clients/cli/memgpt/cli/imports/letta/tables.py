"""Tables of Letta's database, and the SQL that dumps them."""

from __future__ import annotations

from importlib.resources import files

TABLES: dict[str, tuple[str, ...]] = {
    "agents": (
        "id",
        "name",
        "system",
        "agent_type",
        "description",
        "message_ids",
        "memory",
        "llm_config",
        "embedding_config",
        "metadata_",
        "timezone",
        "tools",
        "tool_names",
        "tool_rules",
        "multi_agent_group",
        "created_at",
    ),
    "agents_tags": ("agent_id", "tag"),
    "block": (
        "id",
        "label",
        "name",
        "value",
        "limit",
        "description",
        "read_only",
        "metadata_",
        "template",
        "is_template",
        "template_name",
    ),
    "blocks_agents": ("agent_id", "block_id", "block_label"),
    "blocks_conversations": ("conversation_id", "block_id", "block_label"),
    "messages": (
        "id",
        "agent_id",
        "role",
        "text",
        "content",
        "tool_calls",
        "tool_call_id",
        "tool_returns",
        "name",
        "model",
        "approvals",
        "group_id",
        "conversation_id",
        "sequence_id",
        "created_at",
    ),
    "conversations": ("id", "agent_id", "summary", "created_at"),
    "conversation_messages": ("conversation_id", "agent_id", "message_id", "position", "in_context"),
    "archives": ("id", "name", "description"),
    "archives_agents": ("agent_id", "archive_id", "is_owner"),
    "archival_passages": ("id", "archive_id", "text", "tags", "metadata_", "created_at"),
    "agent_passages": ("id", "agent_id", "text", "metadata_", "created_at"),
    "passages": ("id", "agent_id", "source_id", "file_id", "doc_id", "text", "metadata_", "created_at"),
    "source_passages": ("id", "source_id", "file_id", "file_name", "text", "created_at"),
    "sources": ("id", "name", "description", "instructions"),
    "sources_agents": ("agent_id", "source_id"),
    "agent_source_mapping": ("agent_id", "source_id"),
    "files": ("id", "source_id", "file_name", "original_file_name", "file_type", "created_at"),
    "file_contents": ("file_id", "text"),
    "tools": ("id", "name", "tool_type", "source_type", "source_code", "json_schema"),
    "tools_agents": ("agent_id", "tool_id"),
    "groups": ("id", "manager_type", "manager_agent_id"),
    "groups_agents": ("group_id", "agent_id"),
    "identities": ("id", "identifier_key", "name", "identity_type"),
    "identities_agents": ("identity_id", "agent_id"),
}
"""The columns to read. What a version lacks is passed over; vectors, keys, tokens and variables are in none."""


def script() -> str:
    """Return the SQL for psql that dumps the tables, one file of JSON lines each."""
    return files(__package__).joinpath("letta.sql").read_text()
