# ruff: noqa: E501 - a refusal a line
"""Refusals of vendors in their own words, which do not say their meaning in the usual terms."""

from __future__ import annotations

import pytest
from memgpt.endpoints.refusals import Meaning, understand

REFUSALS: dict[str, tuple[int, object, Meaning]] = {
    "MiniMax's limit of tokens": (
        200,
        {"base_resp": {"status_code": 1039, "status_msg": "token limit"}},
        Meaning.TOO_LONG,
    ),
    "MLX": (400, {"error": "Prompt has 9000 tokens but the model supports a context of up to 8192"}, Meaning.TOO_LONG),
    "TensorRT-LLM": (
        400,
        {
            "error": {
                "message": "`default_max_tokens` (-904) must be greater than 0, `default_max_tokens` (-904) = max_seq_len (4096) - `splited_prompt_len` (5000) - `query_token_len` (0)"
            }
        },
        Meaning.TOO_LONG,
    ),
    "Chutes": (400, {"detail": "exceeds model context"}, Meaning.TOO_LONG),
    "Bedrock's answer tokens": (
        400,
        {
            "message": "The maximum tokens you requested exceeds the model limit of 4096. Try again with a maximum tokens value that is lower than 4096."
        },
        Meaning.OUTPUT_LIMIT,
    ),
    "Zhipu's answer tokens": (
        400,
        {"error": {"message": "max_tokens 参数非法：取值范围 [1, 4096]", "code": "1210"}},
        Meaning.OUTPUT_LIMIT,
    ),
    "OpenAI's reasoning without an answer": (
        400,
        {
            "error": {
                "message": "Could not finish the message because max_tokens or model output limit was reached. Please try again with higher max_tokens.",
                "type": "invalid_request_error",
            }
        },
        Meaning.OUT_OF_ROOM,
    ),
    "Moonshot's balance": (
        429,
        {
            "error": {
                "message": "Your account org-x is not active, current state: exceeded current quota, please check your account balance",
                "type": "exceeded_current_quota_error",
            }
        },
        Meaning.OUT_OF_BALANCE,
    ),
    "xAI's new team": (
        403,
        {
            "code": "The caller does not have permission to execute the specified operation",
            "error": "Your newly created team doesn't have any credits or licenses yet. You can purchase those on https://console.x.ai/team",
        },
        Meaning.OUT_OF_BALANCE,
    ),
    "NVIDIA's degraded function": (
        400,
        {"status": 400, "title": "Bad Request", "detail": "Function id 'x': DEGRADED function cannot be invoked"},
        Meaning.CRASHED,
    ),
    "watsonx's month": (
        403,
        {
            "errors": [
                {
                    "code": "token_quota_reached",
                    "message": "This month's token quota has been reached. To obtain more tokens, upgrade to a paid plan.",
                }
            ]
        },
        Meaning.OUT_OF_BALANCE,
    ),
    "Bedrock's inference profile": (
        400,
        {
            "message": "Invocation of model ID anthropic.claude with on-demand throughput isn't supported. Retry your request with the ID or ARN of an inference profile that contains this model."
        },
        Meaning.UNKNOWN_MODEL,
    ),
    "Bedrock's token": (403, {"message": "The security token included in the request is expired"}, Meaning.BAD_KEY),
    "DashScope's free tier": (
        403,
        {
            "error": {
                "message": 'The free tier of the model has been exhausted. If you wish to continue access the model on a paid basis, please disable the "use free tier only" mode in the management console.',
                "code": "AllocationQuota.FreeTierOnly",
            }
        },
        Meaning.OUT_OF_BALANCE,
    ),
    "Zhipu's models of others": (
        400,
        {"error": {"message": "您无权访问glm-4.6。", "code": "1220"}},
        Meaning.UNKNOWN_MODEL,
    ),
    "MiniMax's plan": (
        200,
        {"base_resp": {"status_code": 2056, "status_msg": "usage limit exceeded"}},
        Meaning.RATE_LIMITED,
    ),
    "Volcano's own limit": (
        429,
        {
            "error": {
                "message": 'Your account [2100] has reached the set inference limit for the [doubao] model, and the model service has been paused. To continue using this model, please visit the Model Activation page to adjust or close the "Safe Experience Mode".',
                "code": "SetLimitExceeded",
            }
        },
        Meaning.OUT_OF_BALANCE,
    ),
    "LM Studio's cancelled model": (400, {"error": "Operation canceled."}, Meaning.CRASHED),
    "Ollama's memory": (
        500,
        {
            "error": {
                "message": "model requires more system memory (12.0 GiB) than is available (7.4 GiB)",
                "type": "api_error",
            }
        },
        Meaning.CRASHED,
    ),
    "Ollama's chat model for embeddings": (
        500,
        {"error": {"message": "this model does not support embeddings"}},
        Meaning.UNKNOWN_MODEL,
    ),
    "Ollama's embedding model for chat": (
        400,
        {"error": {"message": '"nomic-embed-text" does not support chat', "type": "invalid_request_error"}},
        Meaning.UNKNOWN_MODEL,
    ),
    "Ollama's broken XML": (
        500,
        {
            "error": {
                "message": "XML syntax error on line 6: element <function> closed by </parameter>",
                "type": "api_error",
            }
        },
        Meaning.GENERATION_FAILED,
    ),
    "llama.cpp's old template engine": (
        500,
        {
            "error": {
                "message": "Value is not callable: null at row 1, column 72:\n{%- if tools %}",
                "code": 500,
                "type": "server_error",
            }
        },
        Meaning.TEMPLATE,
    ),
    "API Management's quota": (
        403,
        {"statusCode": 403, "message": "Out of call volume quota. Quota will be replenished in 02:33:11."},
        Meaning.RATE_LIMITED,
    ),
    "Groq's terms": (
        400,
        {
            "error": {
                "message": "The model `x` requires terms acceptance. Please have the org admin accept the terms at https://console.groq.com/playground?model=x",
                "code": "model_terms_required",
            }
        },
        Meaning.UNKNOWN_MODEL,
    ),
    "Groq's blocked model": (
        400,
        {
            "error": {
                "message": "The model `x` is blocked at the project level. Please have a project admin enable this model in the project settings at https://console.groq.com/settings/project/limits",
                "code": "model_permission_blocked_project",
            }
        },
        Meaning.UNKNOWN_MODEL,
    ),
    "Gemini without a key": (
        400,
        [{"error": {"code": 400, "message": "Missing or invalid Authorization header.", "status": "INVALID_ARGUMENT"}}],
        Meaning.BAD_KEY,
    ),
    "Anthropic's own limit": (
        400,
        {
            "error": {
                "message": "You have reached your specified API usage limits. You will regain access on 2026-02-01 at 00:00 UTC.",
                "type": "invalid_request_error",
            }
        },
        Meaning.OUT_OF_BALANCE,
    ),
    "Perplexity's order of roles": (
        400,
        {
            "error": {
                "message": "After the (optional) system message(s), user or tool message(s) should alternate with assistant message(s).",
                "type": "invalid_message",
            }
        },
        Meaning.TEMPLATE,
    ),
    "a limit of tokens under the wrong name": (
        422,
        {
            "detail": [
                {"type": "extra_forbidden", "loc": ["body", "max_tokens"], "msg": "Extra inputs are not permitted"}
            ]
        },
        Meaning.REFUSED,
    ),
    "parallel calls": (
        400,
        {"error": {"message": "Parallel tool calling is not supported for this model"}},
        Meaning.REFUSED,
    ),
    "parallel function calls": (
        400,
        {"error": {"message": "m does not support parallel function calling"}},
        Meaning.REFUSED,
    ),
    "Bedrock's streams with tools": (
        400,
        {"message": "This model doesn't support tool use in streaming mode."},
        Meaning.REFUSED,
    ),
    "streams with tools": (400, {"error": {"message": "stream is not supported when tools are used"}}, Meaning.REFUSED),
}


@pytest.mark.parametrize("vendor", REFUSALS)
def test_the_meaning_of_a_vendors_own_words(vendor: str) -> None:
    status, body, meaning = REFUSALS[vendor]
    assert understand(status, body).meaning is meaning
