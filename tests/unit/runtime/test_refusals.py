# ruff: noqa: E501 - a refusal a line
"""Refusals of endpoints in the wording of their vendors, each with its meaning."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memgpt.endpoints.refusals import Meaning, error_in, understand


def error(message: str, code: str | int | None = None, kind: str | None = None) -> dict[str, object]:
    """The body that OpenAI and most others send."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


TOO_LONG: dict[str, tuple[int, object]] = {
    "OpenAI": (
        400,
        error(
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."
            " Please reduce the length of the messages.",
            "context_length_exceeded",
            "invalid_request_error",
        ),
    ),
    "OpenAI, newer": (400, error("Your input exceeds the context window of this model. Please adjust your input.")),
    "Anthropic": (400, {"type": "error", "error": {"message": "prompt is too long: 208310 tokens > 200000 maximum"}}),
    "Anthropic, both": (
        400,
        error("input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease input length"),
    ),
    "Gemini": (
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": "The input token count (1200000) exceeds the maximum number of tokens"
                    " allowed (1048576).",
                    "status": "INVALID_ARGUMENT",
                }
            }
        ],
    ),
    "Mistral": (
        400,
        {
            "object": "error",
            "message": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with"
            " 32768 maximum context length",
            "code": 3051,
        },
    ),
    "Cohere": (400, {"message": "too many tokens: total number of tokens in the prompt cannot exceed 4081"}),
    "vLLM": (
        400,
        {
            "object": "error",
            "message": "The decoder prompt (length 9000) is longer than the maximum model length of 8192.",
            "code": 400,
        },
    ),
    "vLLM, requested": (
        400,
        error(
            "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (3976 in the"
            " messages, 1024 in the completion). Please reduce the length of the messages or completion."
        ),
    ),
    "SGLang": (400, error("The input (9000 tokens) is longer than the model's context length (8192 tokens).")),
    "SGLang, requested": (
        400,
        error("Requested token count exceeds the model's maximum context length of 8192 tokens."),
    ),
    "llama.cpp": (
        400,
        error(
            "the request exceeds the available context size. try increasing the context size or enable context shift",
            400,
            "exceed_context_size_error",
        ),
    ),
    "llama.cpp, embeddings": (
        500,
        error("input is too large to process. increase the physical batch size", 500, "server_error"),
    ),
    "llama-cpp-python": (400, error("Requested tokens (9000) exceed context window of 8192")),
    "LM Studio": (
        400,
        {
            "error": "Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded with"
            " context length of only 4096 tokens, which is not enough."
        },
    ),
    "LM Studio, reached": (400, {"error": "Reached context length of 4096 tokens with model (arch: llama)"}),
    "LM Studio, keep": (
        400,
        {"error": "The number of tokens to keep from the initial prompt is greater than the context length."},
    ),
    "TGI": (
        422,
        {
            "error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 2000",
            "error_type": "validation",
        },
    ),
    "TGI, both": (
        422,
        {
            "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs`"
            " tokens and 1000 `max_new_tokens`",
            "error_type": "validation",
        },
    ),
    "TEI": (
        413,
        {
            "error": "Input validation error: `inputs` must have less than 512 tokens. Given: 900",
            "error_type": "Validation",
        },
    ),
    "Groq": (
        400,
        error("Please reduce the length of the messages or completion.", "context_length_exceeded"),
    ),
    "Cerebras": (
        400,
        {
            "message": "Please reduce the length of the messages or completion. Current length is 9000 while limit is"
            " 8192",
            "type": "invalid_request_error",
            "param": "messages",
            "code": "context_length_exceeded",
        },
    ),
    "Cerebras, words alone": (400, error("Please reduce the length of the messages")),
    "GitHub Models": (
        413,
        error("Request body too large for gpt-4o model. Max size: 8000 tokens.", "tokens_limit_reached"),
    ),
    "Copilot": (
        400,
        error("prompt token count of 70000 exceeds the limit of 64000", "model_max_prompt_tokens_exceeded"),
    ),
    "Fireworks": (400, error("The prompt is too long: 9000, model maximum context length: 8191")),
    "Together": (
        422,
        error(
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 8000 `inputs`"
            " tokens and 1024 `max_new_tokens`"
        ),
    ),
    "xAI": (
        400,
        {
            "code": "Client specified an invalid argument",
            "error": "This model's maximum prompt length is 131072 but the request contains 150000 tokens.",
        },
    ),
    "Bedrock": (400, {"message": "Input is too long for requested model."}),
    "Bedrock, tokens": (
        400,
        {"message": "Too many input tokens. Max input tokens: 8192, request input token count: 9000 "},
    ),
    "DashScope": (
        400,
        error(
            "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 30720]",
            "invalid_parameter_error",
        ),
    ),
    "Zhipu": (400, error("Prompt 超长", "1261")),
    "Zhipu, longer": (400, error("输入内容过长，超过模型最大上下文长度")),
    "Moonshot": (400, error("Invalid request: Your request exceeded model token limit: 262144")),
    "DeepSeek": (
        400,
        error(
            "This model's maximum context length is 131072 tokens. However, you requested 140000 tokens (132000 in"
            " the messages, 8000 in the completion)."
        ),
    ),
    "SiliconFlow": (
        400,
        {
            "code": 20015,
            "message": "length of prompt_tokens (9000) must be less than max_seq_len (8192).",
            "data": None,
        },
    ),
    "MiniMax": (
        200,
        {"base_resp": {"status_code": 2013, "status_msg": "invalid params, context window exceeds limit"}},
    ),
    "Qianfan": (200, {"error_code": 336007, "error_msg": "the max input characters is 8000"}),
    "Qianfan, tokens": (200, {"error_code": 336103, "error_msg": "Prompt tokens too long"}),
    "Databricks": (
        400,
        {"error_code": "BAD_REQUEST", "message": "prompt token count 33000 cannot exceed 32768 tokens"},
    ),
    "Databricks, limit": (400, {"error_code": "BAD_REQUEST", "message": "Exceeded max input token limit of 8192"}),
    "watsonx": (
        400,
        {
            "errors": [
                {
                    "code": "invalid_input_argument",
                    "message": "Invalid input argument for Model: the number of"
                    " input tokens 9000 cannot exceed the total tokens limit 8192 for this model",
                }
            ]
        },
    ),
    "exllama (TabbyAPI)": (400, {"detail": "Prompt length 9000 is greater than max_seq_len 8192"}),
    "exllama, cache": (
        422,
        {"error": {"message": "Prompt exceeds the available context size of 4096 tokens and cannot be truncated"}},
    ),
    "TensorRT-LLM": (400, error("Prompt length (9000) exceeds maximum input length (4096).")),
    "LMDeploy": (400, error("The input_ids length 9000 exceeds session_len 8192")),
    "Ollama": (400, error("the input length exceeds the context length", None, "invalid_request_error")),
    "Ollama, cloud": (400, error("prompt too long; exceeded max context length by 1000 tokens")),
    "OpenRouter": (
        400,
        error(
            "This endpoint's maximum context length is 8192 tokens. However, you requested about 9000 tokens (8000"
            " of text input, 1000 in the output). Please reduce the length of either one, or use the"
            ' "middle-out" transform',
            400,
        ),
    ),
    "Cloudflare": (
        400,
        {
            "errors": [
                {
                    "message": "AiError: The estimated number of input and maximum output tokens (9000) exceeded this"
                    " model context window limit (8192).",
                    "code": 5021,
                }
            ],
            "success": False,
        },
    ),
    "Friendli": (400, {"detail": "prompt length (9000) exceeds the maximum allowed length (8192)"}),
    "Volcengine": (400, error("Total tokens of image and text exceed max message tokens", "InvalidParameter")),
    "Hunyuan": (400, error("输入 tokens 超过上下文长度限制")),
    "LiteLLM": (
        400,
        error(
            "litellm.ContextWindowExceededError: litellm.BadRequestError: AnthropicException - prompt is too long:"
            " 208310 tokens > 200000 maximum. Received Model Group=x",
            "400",
        ),
    ),
    "a gateway's JSON in a message": (
        400,
        error('{"error": {"message": "prompt is too long: 208310 tokens > 200000 maximum"}}', "400"),
    ),
    "FastAPI": (422, {"detail": [{"loc": ["body", "messages"], "msg": "Input is too long", "type": "value_error"}]}),
    "a bare 413": (413, ""),
    "nginx": (413, "<html><head><title>413 Request Entity Too Large</title></head></html>"),
}

OTHERS: dict[str, tuple[int, object, Meaning]] = {
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
        [
            {
                "error": {
                    "code": 429,
                    "message": "You exceeded your current quota, please check your plan and billing details.",
                    "status": "RESOURCE_EXHAUSTED",
                    "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}],
                }
            }
        ],
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
        Meaning.OUT_OF_BALANCE,
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


@pytest.mark.parametrize("vendor", TOO_LONG)
def test_a_prompt_that_is_too_long(vendor: str) -> None:
    status, body = TOO_LONG[vendor]
    assert understand(status, body).meaning is Meaning.TOO_LONG


@pytest.mark.parametrize("vendor", OTHERS)
def test_other_meanings(vendor: str) -> None:
    status, body, meaning = OTHERS[vendor]
    assert understand(status, body).meaning is meaning


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"retry-after": "7"}, "", 7.0),
        ({"retry-after-ms": "1500"}, "", 1.5),
        ({"retry-after": formatdate(time.time() - 5, usegmt=True)}, "", 0.0),
        ({}, OTHERS["Gemini's quota a minute"][1], 34.0),
        ({}, error("Please try again in 7.66s."), 7.66),
        ({}, error("Please try again in 320ms."), 0.32),
        ({}, error("Please try again in 1m3.5s."), 63.5),
        ({}, error("Please try again in 2h10m."), 7800.0),
        ({}, error("Please retry after 6 seconds."), 6.0),
        ({}, error("Rate limited, wait 2 minutes"), 120.0),
        ({}, error("Try again later."), None),
        ({"retry-after": "soon"}, "", None),
    ],
)
def test_when_to_ask_again(headers: dict[str, str], body: object, seconds: float | None) -> None:
    wait = understand(429, body, headers).retry_after
    assert wait == (seconds if seconds is None else pytest.approx(seconds))


def test_the_endpoints_words_are_quoted_without_secrets() -> None:
    said = understand(
        400, error("Bad\nrequest with key my-private-key and sk-1234567890abcdef1234"), secrets=["my-private-key"]
    )
    assert said.quote == "Bad request with key [redacted] and [redacted]"
    assert understand(502, "<html><title>502 Bad Gateway</title><body>x</body></html>").quote == "502 Bad Gateway"
    assert len(understand(400, error("x" * 9000)).quote) < 300


@pytest.mark.parametrize(
    "body",
    [
        error("No endpoints found", 404),
        {"error": "boom"},
        [error("boom")],
        {"detail": "Not Found"},
        {"object": "error", "message": "boom"},
        {"code": 500, "msg": "404 NOT_FOUND", "success": False},
        {"base_resp": {"status_code": 1004, "status_msg": "login fail"}},
        {"error_code": 110, "error_msg": "Access token invalid"},
        {"code": "InvalidParameter", "message": "boom"},
    ],
)
def test_an_error_inside_success(body: object) -> None:
    assert error_in(body) is not None


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [], "usage": {}},
        {"choices": [{"delta": {}}], "error": None},
        {"id": "x", "object": "chat.completion.chunk", "choices": []},
        {"choices": [{"message": {"content": "x"}}], "base_resp": {"status_code": 0, "status_msg": ""}},
        {"data": [], "object": "list"},
        [],
        None,
        7,
    ],
)
def test_no_error_inside_success(body: object) -> None:
    assert error_in(body) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["error", "message", "code", "detail", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.integers(100, 599), JSON, st.dictionaries(st.sampled_from(["retry-after", "x"]), st.text(max_size=12)))
def test_any_body_has_a_meaning(status: int, body: object, headers: dict[str, str]) -> None:
    refusal = understand(status, body, headers)
    assert len(refusal.quote) < 300
    assert refusal.retry_after is None or refusal.retry_after >= 0
    error_in(body)
