"""Settings of the services: see `memgpt.config`, which the command line shares."""

from memgpt.config import (
    ENV_PREFIX,
    SECTIONS,
    Config,
    ConfigError,
    MemoryClientSection,
    Section,
    ServerSettings,
    ServiceSection,
    config_path,
    home_dir,
    load_config,
)

__all__ = [
    "ENV_PREFIX",
    "SECTIONS",
    "Config",
    "ConfigError",
    "MemoryClientSection",
    "Section",
    "ServerSettings",
    "ServiceSection",
    "config_path",
    "home_dir",
    "load_config",
]
