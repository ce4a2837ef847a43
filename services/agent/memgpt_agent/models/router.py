"""The choice between the built-in model and the endpoint's."""

from __future__ import annotations

from memgpt_runtime import reasons

from memgpt_agent.models.base import ChatModel, Completion, ModelRequest, Sink
from memgpt_agent.models.offline import model as offline_model


class ModelRouter:
    """Calls the model that the agent names, or the service's default.

    The offline model answers only if it is named: it never replaces an endpoint that fails.
    """

    def __init__(self, default: str, offline: ChatModel, endpoint: ChatModel | None) -> None:
        self._default = default
        self._offline = offline
        self._endpoint = endpoint

    async def complete(self, request: ModelRequest, sink: Sink) -> Completion:
        """Pass the request to the model.

        Raises:
            FailedPrecondition: The agent names a model, and no endpoint is configured.
        """
        name = request.model or self._default
        if name == offline_model.NAME:
            return await self._offline.complete(request, sink)
        if self._endpoint is None:
            raise reasons.model_unusable(
                f'the agent uses the model "{name}", but no endpoint is configured; set agent.model,'
                f" agent.base_url and"
                " agent.api_key, or change the agent's model to 'offline'",
                model=name,
            )
        return await self._endpoint.complete(request, sink)
