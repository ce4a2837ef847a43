"""Refusals for every reason but the length of the prompt, in the wording of each vendor."""

from __future__ import annotations

import pytest
from memgpt.endpoints.refusals import Meaning, understand

from tests.unit.runtime.error_bodies import GEMINI_QUOTA, error

OTHERS: dict[str, tuple[int, object, Meaning]] = {
    # Words that only look like another meaning.
    "a gateway's broken model": (502, error("The model returned an invalid response"), Meaning.UNAVAILABLE),
    "an overloaded model": (529, error("The model is currently not available"), Meaning.UNAVAILABLE),
    "a model that is away": (500, error("The model is temporarily not available"), Meaning.UNAVAILABLE),
    "a cache that is too small": (
        400,
        error("KV cache capacity exceeded: prompt too long (5000 tokens > 4096)"),
        Meaning.TOO_LONG,
    ),
    "a budget of thoughts": (400, error("thinking budget limit is 1024"), Meaning.REFUSED),
    "a ship": (400, error("relationship error: tool_calls"), Meaning.REFUSED),
    "an upload": (429, error("stop uploading"), Meaning.RATE_LIMITED),
    "a schema": (400, error("request violates schema: unknown field user"), Meaning.REFUSED),
    # A limit in time: the prompt is not to be shortened for good.
    "Groq's tokens a minute": (
        413,
        error(
            "Request too large for model `llama-3.1-8b-instant` in organization `org_x` on tokens per minute (TPM):"
            " Limit 6000, Requested 9000, please reduce your message size and try again.",
            "rate_limit_exceeded",
            "tokens",
        ),
        Meaning.RATE_LIMITED,
    ),
    "OpenAI's tokens a minute": (
        429,
        error(
            "Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Used 29000,"
            " Requested 2000. Please try again in 2s.",
            "rate_limit_exceeded",
        ),
        Meaning.RATE_LIMITED,
    ),
    "Anthropic's input tokens": (
        429,
        error("This request would exceed your organization's rate limit of 40,000 input tokens per minute."),
        Meaning.RATE_LIMITED,
    ),
    "Azure's": (
        429,
        error(
            "Requests to the ChatCompletions_Create Operation have exceeded token rate limit of your current OpenAI"
            " S0 pricing tier. Please retry after 6 seconds.",
            "429",
        ),
        Meaning.RATE_LIMITED,
    ),
    "Gemini's quota a minute": (
        429,
        GEMINI_QUOTA,
        Meaning.RATE_LIMITED,
    ),
    "DashScope's rate": (
        429,
        error("Requests rate limit exceeded, please try again later.", "limit_requests"),
        Meaning.RATE_LIMITED,
    ),
    "Zhipu's concurrency": (429, error("您当前使用该API的并发数过高，请降低并发", "1302"), Meaning.RATE_LIMITED),
    "Bedrock's throttling": (
        400,
        {"__type": "ThrottlingException", "message": "Too many tokens per day"},
        Meaning.RATE_LIMITED,
    ),
    "one-api's quota": (403, error("user quota is not enough", "one_api_error"), Meaning.OUT_OF_BALANCE),
    "one-api's code": (403, error("no", "new_api_error", "insufficient_user_quota"), Meaning.OUT_OF_BALANCE),
    "no balance": (402, error("Insufficient Balance", "invalid_request_error"), Meaning.OUT_OF_BALANCE),
    "OpenAI's quota": (
        429,
        error("You exceeded your current quota, please check your plan and billing details.", "insufficient_quota"),
        Meaning.OUT_OF_BALANCE,
    ),
    "Anthropic's credit": (
        400,
        error("Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing."),
        Meaning.OUT_OF_BALANCE,
    ),
    "OpenRouter's credits": (
        402,
        error(
            "This request requires more credits, or fewer max_tokens. You requested up to 4096 tokens, but can only"
            " afford 200.",
            402,
        ),
        Meaning.OUTPUT_LIMIT,
    ),
    "DashScope's arrears": (
        400,
        error("Access denied, please make sure your account is in good standing.", "Arrearage"),
        Meaning.OUT_OF_BALANCE,
    ),
    "Zhipu's balance": (429, error("您的账户余额不足，请充值", "1113"), Meaning.OUT_OF_BALANCE),
    "SiliconFlow's balance": (
        403,
        {"code": 30001, "message": "Sorry, your account balance is insufficient"},
        Meaning.OUT_OF_BALANCE,
    ),
    "OpenAI's country": (
        403,
        error("Country, region, or territory not supported", "unsupported_country_region_territory"),
        Meaning.COUNTRY,
    ),
    "Gemini's country": (
        400,
        error("User location is not supported for the API use.", 400, "FAILED_PRECONDITION"),
        Meaning.COUNTRY,
    ),
    "a wrong key": (401, error("Incorrect API key provided: sk-abc", "invalid_api_key"), Meaning.BAD_KEY),
    "Gemini's wrong key": (400, error("API key not valid. Please pass a valid API key.", 400), Meaning.BAD_KEY),
    "a bare 401": (401, "", Meaning.BAD_KEY),
    "OpenRouter's moderation": (
        403,
        error('Your chosen model requires moderation and your input was flagged for "violence".', 403),
        Meaning.FILTERED,
    ),
    "a bare 403": (403, "Forbidden", Meaning.FORBIDDEN),
    "Azure's filter": (
        400,
        error(
            "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
            "content_filter",
        ),
        Meaning.FILTERED,
    ),
    "DeepSeek's filter": (400, error("Content Exists Risk", "invalid_request_error"), Meaning.FILTERED),
    "DashScope's filter": (
        400,
        error("Input data may contain inappropriate content.", "data_inspection_failed"),
        Meaning.FILTERED,
    ),
    "Zhipu's filter": (400, error("系统检测到输入或生成内容可能包含不安全或敏感内容", "1301"), Meaning.FILTERED),
    "OpenAI's filter": (
        400,
        error("Invalid prompt: your prompt was flagged as potentially violating our usage policy.", "invalid_prompt"),
        Meaning.FILTERED,
    ),
    "Moonshot's filter": (
        400,
        error("The request was rejected because it was considered high risk", "content_filter"),
        Meaning.FILTERED,
    ),
    "a wrong model": (
        404,
        error("The model `gpt-9` does not exist or you do not have access to it.", "model_not_found"),
        Meaning.UNKNOWN_MODEL,
    ),
    "DeepSeek's wrong model": (400, error("Model Not Exist", "invalid_request_error"), Meaning.UNKNOWN_MODEL),
    "Ollama's wrong model": (404, error('model "x" not found, try pulling it first'), Meaning.UNKNOWN_MODEL),
    "LM Studio without a model": (
        400,
        error("No models loaded. Please load a model in the developer page."),
        Meaning.UNKNOWN_MODEL,
    ),
    "OpenRouter's wrong model": (400, error("x/y is not a valid model ID", 400), Meaning.UNKNOWN_MODEL),
    "OpenRouter, inside 200": (200, error("No endpoints found", 404), Meaning.UNKNOWN_MODEL),
    "Azure's deployment": (
        404,
        error("The API deployment for this resource does not exist.", "DeploymentNotFound"),
        Meaning.UNKNOWN_MODEL,
    ),
    "Groq's failed call": (
        400,
        {
            "error": {
                "message": "Failed to call a function. Please adjust your prompt. See 'failed_generation' for more"
                " details.",
                "type": "invalid_request_error",
                "code": "tool_use_failed",
                "failed_generation": '<function=send_message>{"message": "Hi"}',
            }
        },
        Meaning.GENERATION_FAILED,
    ),
    "Groq's failed JSON": (
        400,
        error("Failed to generate JSON. Please adjust your prompt.", "json_validate_failed"),
        Meaning.GENERATION_FAILED,
    ),
    "llama.cpp's failed parse": (
        500,
        error("Failed to parse tool call arguments as JSON", 500),
        Meaning.GENERATION_FAILED,
    ),
    "Ollama's failed parse": (
        500,
        error("error parsing tool call: raw='{\"a' err=unexpected end of JSON"),
        Meaning.GENERATION_FAILED,
    ),
    "Ollama without tools": (
        400,
        error("registry.ollama.ai/library/gemma:7b does not support tools"),
        Meaning.NO_TOOLS,
    ),
    "OpenRouter without tools": (
        404,
        error('No endpoints found that support tool use. Try disabling "send_message".', 404),
        Meaning.NO_TOOLS,
    ),
    "vLLM without a parser": (
        400,
        {
            "object": "error",
            "message": '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
            "code": 400,
        },
        Meaning.NO_TOOLS,
    ),
    "llama.cpp without jinja": (500, error("tools param requires --jinja flag", 500), Meaning.NO_TOOLS),
    "SiliconFlow without tools": (
        400,
        {"code": 20037, "message": "Function call is not supported for this model."},
        Meaning.NO_TOOLS,
    ),
    "OpenAI's old model without tools": (400, error("Unrecognized request argument supplied: tools"), Meaning.NO_TOOLS),
    "Together without tools": (400, error("This model doesn't support function calling"), Meaning.NO_TOOLS),
    "a Mistral template": (
        400,
        error("After the optional system message, conversation roles must alternate user/assistant/user/assistant/..."),
        Meaning.TEMPLATE,
    ),
    "Gemma's template": (400, error("System role not supported"), Meaning.TEMPLATE),
    "LM Studio's template": (
        400,
        {"error": 'Error rendering prompt with jinja template: "Only user and assistant roles are supported!"'},
        Meaning.TEMPLATE,
    ),
    "Mistral's order": (
        400,
        {
            "object": "error",
            "message": "Unexpected role 'user' after role 'tool'",
            "type": "invalid_request_message_order",
        },
        Meaning.TEMPLATE,
    ),
    "Ollama's crash": (
        500,
        error("llama runner process has terminated: exit status 2"),
        Meaning.CRASHED,
    ),
    "LM Studio's crash": (
        400,
        {"error": "The model has crashed without additional information. (Exit code: 139)"},
        Meaning.CRASHED,
    ),
    "CUDA": (500, error("CUDA error: out of memory"), Meaning.CRASHED),
    "Bedrock's start": (424, {"message": "Model is not ready for inference. Please wait"}, Meaning.LOADING),
    "llama.cpp's start": (503, error("Loading model", 503, "unavailable_error"), Meaning.LOADING),
    "Hugging Face's start": (503, {"error": "Model x is currently loading", "estimated_time": 20}, Meaning.LOADING),
    "overloaded": (529, error("Overloaded", None, "overloaded_error"), Meaning.UNAVAILABLE),
    "a gateway's page": (502, "<html><head><title>502 Bad Gateway</title></head></html>", Meaning.UNAVAILABLE),
    "a moved address": (308, "", Meaning.REDIRECTED),
    "an unknown option": (400, error("Unknown parameter: 'stream_options'."), Meaning.REFUSED),
    "too many answer tokens": (
        400,
        error(
            "max_tokens is too large: 32768. This model supports at most 16384 completion tokens, whereas you"
            " provided 32768.",
            "invalid_value",
        ),
        Meaning.OUTPUT_LIMIT,
    ),
    "Groq's answer tokens": (
        400,
        error(
            "`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less than the"
            " `context_window` for this model"
        ),
        Meaning.OUTPUT_LIMIT,
    ),
    "DashScope's answer tokens": (
        400,
        error("<400> InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, 8192]"),
        Meaning.OUTPUT_LIMIT,
    ),
}


@pytest.mark.parametrize("vendor", OTHERS)
def test_other_meanings(vendor: str) -> None:
    status, body, meaning = OTHERS[vendor]
    assert understand(status, body).meaning is meaning
