# ruff: noqa: E501 - a wording a line
"""What refusals mean, in the words of vendors as they are quoted in public issues."""

from __future__ import annotations

import pytest
from memgpt.endpoints.refusals import Meaning, error_in, understand

WORDINGS: dict[Meaning, list[tuple[int, str]]] = {
    Meaning.RATE_LIMITED: [
        (429, "You have exhausted your capacity on this model. Your quota will reset after 8h44m7s."),
        (429, "No capacity available for model gemini-3.1-flash-lite on the server"),
        (200, "Worker local total request limit reached (33/32)"),
        (503, "Service tier capacity exceeded for this model."),
        (429, "The engine is currently overloaded, please try again later"),
        (400, "Too many open requests; please slow your requests down"),
        (403, "You have reached your hourly usage limit"),
        (429, "Tokens used per day exceeded: Please try again tomorrow"),
        (413, "Request too large for model `x` in organization on tokens per minute (TPM): Limit 6000, Requested 7000"),
        (400, "ThrottlingException: Too many tokens, please wait before trying again."),
        (429, "已达到并发上限，请稍后再试"),
        (429, "Your request exceeds the limit of 100000 input tokens per 60 seconds"),
    ],
    Meaning.TOO_LONG: [
        (
            400,
            "The prompt (total length 25938) is too long to fit into the model (context length 4096). Make sure that `max_model_len` is no smaller",
        ),
        (400, "Input is too long for requested model."),
        (400, "ValidationException: The model returned the following errors: Input is too long for requested model."),
        (400, "This model's maximum prompt length is 131072 but the request contains 140000 tokens."),
        (413, "Payload Too Large"),
        (400, "The total number of tokens in the request (9000) exceeds the model's context size of 8192"),
        (400, "Requested input length 9000 exceeds maximum input length 8191"),
        (500, "the request exceeds the available context size, try increasing it"),
        (400, "invalid params, context window exceeds limit (2013)"),
        (400, "Your input exceeds the context window of this model. Please adjust your input and try again."),
        (400, "prompt token count of 130000 exceeds the limit of 128000"),
        (400, "The input (5000 tokens) is longer than the model's context length (4096 tokens)."),
        (400, "total message token length exceed model limit"),
        (400, "输入的token数量超过了模型的上限"),
        (400, "Conversation too long: got 4097 ctx, have 4096"),
        (400, "The total length of messages exceeds the maximum allowed"),
        (400, "messages length must not exceed 100000 characters"),
        (400, "n_ctx 2048 is too small for a prompt of 3000"),
        (
            400,
            "Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens",
        ),
    ],
    Meaning.FILTERED: [
        (400, "Invalid prompt: we've limited access to this content for safety reasons."),
        (400, "Output blocked by content filtering policy"),
        (200, "The request was rejected because it was considered high risk"),
        (400, "input new_sensitive (1026)"),
        (400, "Your request was flagged by our moderation"),
        (403, "Your input was deemed to violate our terms; blocked by guardrail"),
        (400, "系统检测到输入或生成内容可能包含不安全或敏感内容"),
        (400, "The response was filtered due to the prompt triggering Azure OpenAI's content management policy"),
        (400, "Guardrail intervened: input blocked"),
        (422, "prompt contains disallowed words"),
        (400, "Request rejected: contains prohibited terms"),
        (400, "This request has been refused by our trust and safety team"),
        (400, "Sorry, your text contains illegal content"),
        (403, "Lakera Guard: prompt injection detected"),
        (400, "Jailbreak attempt detected"),
        (400, "您的输入包含违禁词"),
        (400, "内容不合规，请修改后重试"),
        (400, "입력에 부적절한 내용이 포함되어 있습니다"),
        (400, "入力内容が不適切です"),
    ],
    Meaning.GENERATION_FAILED: [
        (400, "Failed to call a function. See 'failed_generation'"),
        (400, "Parsing failed. The model generated output that could not be parsed."),
        (500, "Failed to parse input at pos 35: <tool_call>"),
        (400, "Tool choice is required, but model did not call a tool"),
        (500, "invalid character 'I' looking for beginning of value: error parsing tool call: raw='I think'"),
        (400, "Tool call validation failed: attempted to call tool 'x' which was not in request.tools"),
        (400, "Generated JSON does not match the expected schema."),
        (500, "Model output is not a valid tool call"),
    ],
    Meaning.OUT_OF_BALANCE: [
        (403, "Your account balance is insufficient; please recharge"),
        (429, "You've run out of credits"),
        (400, "Your credit balance is too low to access the Anthropic API"),
        (429, "account quota exhausted, please purchase more"),
        (403, "This key has exceeded its spending cap"),
        (401, "Insufficient account balance"),
        (429, "Monthly usage limit reached. Upgrade your plan"),
        (403, "Key limit exceeded (total limit). Manage it using https://openrouter.ai/settings/keys"),
    ],
    Meaning.BAD_KEY: [
        (401, "User not found."),
        (400, "API key not valid. Please pass a valid API key."),
        (403, "Token is invalid or has expired"),
        (401, "No auth credentials found"),
        (403, "Missing Authentication header"),
        (400, "Authentication parameter not received in Header"),
        (401, "Access denied due to invalid subscription key or wrong API endpoint."),
    ],
    Meaning.UNKNOWN_MODEL: [
        (400, "The model `gpt-9` does not exist or you do not have access to it."),
        (400, "gpt-9 is not a valid model ID"),
        (404, "model 'x' not found, try pulling it first"),
        (400, "Model Not Exist"),
        (403, "model x is not enabled for your account"),
        (400, "Invalid model name passed in model=x. Call `/v1/models`"),
        (400, "The provided model identifier is invalid."),
        (404, "Publisher Model `x` was not found or your project does not have access to it"),
        (410, "This model has been deprecated / decommissioned and is no longer supported"),
        (400, "The model `llama3-70b` has been decommissioned and is no longer supported."),
    ],
    Meaning.NO_TOOLS: [
        (400, "x does not support tools"),
        (400, "`tools` is not supported by this model"),
        (400, "Function calling is not enabled for models/gemma-3-27b-it"),
        (404, "No endpoints found that support tool use"),
        (400, "This model doesn't support tool calling"),
        (400, "Tool use with function calling is unsupported"),
        (422, "tools: Extra inputs are not permitted"),
        (400, "tool calling not supported for this model"),
    ],
    Meaning.CRASHED: [
        (500, "llama runner process has terminated: exit status 2"),
        (500, "model runner has unexpectedly stopped, this may be due to resource limitations"),
        (400, "The model has crashed without additional information. (Exit code: 18446744072635812000)"),
        (500, "EngineCore encountered an issue"),
        (500, "CUDA error: out of memory"),
        (500, "unable to allocate CUDA0 buffer"),
        (500, "Metal: Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)"),
        (400, "Model is unloaded. Loading"),
    ],
    Meaning.LOADING: [
        (503, "Loading model"),
        (503, "Model x is currently loading"),
        (503, "model is warming up"),
        (503, "The model is being deployed; please retry shortly"),
    ],
    Meaning.COUNTRY: [
        (403, "Country, region, or territory not supported"),
        (400, "User location is not supported for the API use."),
        (403, "Access from your region is restricted"),
        (403, "The model is not available in your region."),
    ],
    Meaning.TEMPLATE: [
        (500, "Value is not callable: null at row 1, jinja"),
        (400, "Conversation roles must alternate user/assistant/user"),
        (400, "Error rendering prompt with jinja template: Unknown ArrayValue filter: trim"),
        (400, "System message must be at the beginning."),
        (400, "No user query found in messages."),
        (500, "Cannot put tools in the first user message when there's no first user message!"),
    ],
}


def test_parameters_that_break_a_rule_are_no_matter_of_a_filter() -> None:
    assert understand(400, {"error": {"message": "参数不合规: tool_choice"}}).meaning is not Meaning.FILTERED


@pytest.mark.parametrize(
    ("meaning", "status", "words"), [(m, status, words) for m, given in WORDINGS.items() for status, words in given]
)
def test_a_wording(meaning: Meaning, status: int, words: str) -> None:
    assert understand(status, {"error": {"message": words}}).meaning is meaning
    if status == 400:
        # The same inside an answer of status 200, in any of the forms of gateways.
        assert understand(200, {"type": "error", "code": "400", "message": words}).meaning is meaning


@pytest.mark.parametrize(
    ("body", "meaning"),
    [
        ({"promptFeedback": {"blockReason": "OTHER"}, "usageMetadata": {"promptTokenCount": 3}}, Meaning.FILTERED),
        ({"choices": [{"finish_reason": "error", "error": {"code": 502, "message": "Upstream idle timeout"}}]}, Meaning.UNAVAILABLE),
        ({"choices": [], "error": {"code": 429, "message": "x"}}, Meaning.RATE_LIMITED),
        ({"error": "EXPLODED"}, Meaning.UNAVAILABLE),
        ({"message": "no Route matched with those values"}, Meaning.UNAVAILABLE),
        ({"message": "no", "status": 429}, Meaning.RATE_LIMITED),
        ({"statusCode": 401, "message": "Access denied"}, Meaning.BAD_KEY),
        ({"status": "error", "message": "model is being downloaded"}, Meaning.LOADING),
        ({"ok": False, "description": "bot stopped"}, Meaning.UNAVAILABLE),
    ],
)  # fmt: skip
def test_an_error_inside_an_answer_of_status_200(body: dict[str, object], meaning: Meaning) -> None:
    problem = error_in(body)
    assert problem is not None
    assert understand(200, problem).meaning is meaning


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"delta": {"content": "error"}, "error": None}]},
        {"choices": [], "usage": {"prompt_tokens": 1}, "error": None},
        {"model": "m", "message": {"role": "assistant", "content": "status"}, "done": False},
        {"data": [{"embedding": [1.0]}], "status": "success", "message": "ok"},
        {"id": "x", "object": "chat.completion.chunk", "choices": []},
    ],
)
def test_what_is_no_error(body: dict[str, object]) -> None:
    assert error_in(body) is None


def test_when_to_try_again() -> None:
    said = understand(
        429, {"error": {"message": "You have exhausted your capacity. Your quota will reset after 8h44m7s."}}
    )
    assert said.retry_after == 8 * 3600 + 44 * 60 + 7
