"""`memgpt config`: the effective settings, and where each comes from."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

from memgpt.cli.access import profiles
from memgpt.cli.settings import KEY_VARIABLE, ClientSettings, load_settings
from memgpt.cli.setup.answers import read_document
from memgpt.cli.terminal.table import Column
from memgpt.cli.terminal.ui import Ui
from memgpt.config import ENV_PREFIX, SECTIONS, Section, ServerSettings, config_path, home_dir
from pydantic import SecretStr

_SECRET = ("key", "token", "password", "headers", "query")
"""Suffixes of the names of settings whose values are masked."""

_DEFAULTS: dict[str, type[Section]] = {"server": ServerSettings, "client": ClientSettings}
"""Sections whose defaults are known here; the reference has those of the services."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting.

    Attributes:
        name: Name as ``section.key``.
        value: Its value; secrets are masked.
        origin: The environment variable, the file, or ``default``.
    """

    name: str
    value: str
    origin: str


def show(ui: Ui, *, as_json: bool) -> None:
    """Write the settings; raises for an invalid configuration like every command."""
    load_settings()
    settings = effective()
    if as_json:
        for setting in settings:
            ui.json(asdict(setting))
        return
    if ui.terminal:
        path = config_path()
        ui.note(f"Home: {home_dir()}")
        ui.note(f"File: {path}{'' if path.exists() else ' (there is none; `memgpt configure` writes it)'}")
        ui.line()
    rows = [[setting.name, setting.value, setting.origin] for setting in settings]
    ui.table(["Setting", Column("Value", whole=False, priority=1), Column("From", whole=False)], rows)


def effective() -> list[Setting]:
    """Return the configured settings and the known defaults, by section."""
    document = read_document(config_path())
    found: list[Setting] = []
    for section in SECTIONS:
        values: dict[str, tuple[Any, str]] = {}
        model = _DEFAULTS.get(section)
        for key, field in model.model_fields.items() if model else ():
            values[key] = (field.default, "default")
        for key, value in document.get(section, {}).items():
            values[key] = (value, str(config_path()))
        prefix = f"{ENV_PREFIX}_{section.upper()}_"
        for variable, value in os.environ.items():
            if variable.startswith(prefix):
                values[variable.removeprefix(prefix).lower()] = (value, variable)
        if section == "client":
            values |= _of_profile()
        found += [Setting(f"{section}.{key}", _shown(key, value), origin) for key, (value, origin) in values.items()]
    return found


def _of_profile() -> dict[str, tuple[Any, str]]:
    """Return what the profile and the key in the environment set."""
    profile = profiles.current(home_dir())
    found = (
        {} if profile is None else {key: (each, f"profile {profile[0]}") for key, each in profile[1].settings().items()}
    )
    if key := os.environ.get(KEY_VARIABLE):
        found["api_key"] = (key, KEY_VARIABLE)
    return found


def _shown(key: str, value: object) -> str:
    if value in (None, ""):
        return ""
    if isinstance(value, SecretStr) and not value.get_secret_value():
        return ""
    if key.endswith(_SECRET):
        return "***"
    if key == "uri" and "@" in str(value):
        return f"***@{str(value).rpartition('@')[2]}"
    return str(value)
