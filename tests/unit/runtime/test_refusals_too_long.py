# ruff: noqa: E501 - a refusal a line
"""Refusals of prompts that are longer than the context window, in the wording of each vendor."""

from __future__ import annotations

import pytest
from memgpt.endpoints.refusals import Meaning, understand

from tests.unit.runtime.error_bodies import error

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


@pytest.mark.parametrize("vendor", TOO_LONG)
def test_a_prompt_that_is_too_long(vendor: str) -> None:
    status, body = TOO_LONG[vendor]
    assert understand(status, body).meaning is Meaning.TOO_LONG
