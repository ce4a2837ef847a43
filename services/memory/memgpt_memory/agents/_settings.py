"""Rules for the settings of an agent, and the etag that guards them."""

from __future__ import annotations

from memgpt_runtime.agent_rules import check_context_window, check_time_zone, check_ttl

from memgpt_memory.agents._rows import AgentRow


def check_settings(row: AgentRow) -> None:
    """Reject invalid settings.

    Raises:
        InvalidArgument: The time zone is unknown, the context window is too small, or a time to live too short or long.
    """
    check_time_zone(row.time_zone)
    check_context_window(row.context_window)
    check_ttl("message_ttl", row.message_ttl)
    check_ttl("note_ttl", row.note_ttl)


def settings_etag(row: AgentRow) -> str:
    """An etag that changes with every write of the settings."""
    return f"s{row.settings_version}"
