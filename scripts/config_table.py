"""Writes the table of all settings into README.md, from the services' own models; `--check` only compares."""

from __future__ import annotations

import sys
from pathlib import Path

from memgpt.cli.settings import ClientSettings
from memgpt_agent.config import AgentSettings
from memgpt_loader.config import LoaderSettings
from memgpt_memory.config import MemorySettings
from memgpt_runtime.config import Section, ServerSettings
from pydantic import SecretStr
from pydantic_core import PydanticUndefined

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- settings: begin -->\n", "<!-- settings: end -->\n"
SECTIONS: dict[str, tuple[str, type[Section]]] = {
    "server": ("what each of the three servers has", ServerSettings),
    "memory": ("Memory", MemorySettings),
    "loader": ("the Loader", LoaderSettings),
    "agent": ("the Agent", AgentSettings),
    "client": ("the command line", ClientSettings),
}


def _default(value: object) -> str:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value in (None, "", PydanticUndefined):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def table() -> str:
    """The section of README.md, between its marks."""
    lines = []
    for name, (owner, model) in SECTIONS.items():
        lines += [f"`[{name}]`: {owner}.", "", "| key | default | meaning |", "| --- | --- | --- |"]
        for key, field in model.model_fields.items():
            meaning = (field.description or "").replace("|", "\\|")
            lines.append(f"| `{key}` | {_default(field.default)} | {meaning} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Rewrites README.md, or compares."""
    text = README.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    new = f"{head}{BEGIN}\n{table()}\n{END}{tail}"
    if "--check" in sys.argv:
        sys.exit(0 if new == text else "README.md: the settings differ; run python scripts/config_table.py")
    README.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
