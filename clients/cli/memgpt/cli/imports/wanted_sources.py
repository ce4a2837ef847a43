"""Data sources that no imported agent has."""

from __future__ import annotations

from collections.abc import Iterable

from memgpt.cli.imports.pieces import Agent, Source
from memgpt.cli.imports.report import Report


def wanted_sources(
    sources: Iterable[Source], agents: Iterable[Agent], report: Report, *, only: bool
) -> tuple[Source, ...]:
    """Return the data sources to load, and record those that no agent has.

    Args:
        sources: The data sources.
        agents: The agents to import.
        report: Where changes are recorded.
        only: Whether the user chose agents: then only their data sources are loaded.
    """
    used = {name for agent in agents for name in agent.source_names}
    wanted: list[Source] = []
    for source in sources:
        if only and source.name not in used:
            report.left_out(f'data source "{source.name}"', "data source that the chosen agent does not have")
            continue
        if source.name not in used:
            report.changed(
                f'data source "{source.name}"', "data source that no agent has; it is loaded, not attached", source.name
            )
        wanted.append(source)
    return tuple(wanted)
