"""Check of model names against the configured endpoint."""

from __future__ import annotations

from difflib import get_close_matches

from memgpt.cli.endpoint_probe import Endpoint, ProbeError
from memgpt.cli.errors import CliError
from memgpt.cli.services.dependencies import setting
from memgpt.cli.settings import load_settings

OFFLINE = "offline"

_NAMED = 8


def check_model(name: str) -> None:
    """Check that a model is available, as far as the configuration and its endpoint tell.

    Raises:
        CliError: No endpoint is configured, or it does not serve the model.
    """
    if name == OFFLINE or load_settings().service.agent_address:
        return
    url = setting("agent", "base_url")
    if not url:
        if setting("agent", "model", OFFLINE) == OFFLINE:
            raise CliError(f'no endpoint is configured for the model "{name}"; run `memgpt configure`')
        return
    try:
        served = Endpoint(url, setting("agent", "api_key")).models()
    except ProbeError:
        return  # the next turn reports the problem
    if served and name not in served:
        close = get_close_matches(name, served, n=1)
        known = f'did you mean "{close[0]}"?' if close else f"it serves {', '.join(served[:_NAMED])}"
        raise CliError(f'{url} has no model "{name}"; {known}')
