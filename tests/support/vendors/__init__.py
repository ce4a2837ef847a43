# ruff: noqa: E501 - a vendor's wording a line
"""Vendors of endpoints: what each rejects and how its responses look, as known from issues and sources.

No real endpoint was called. Each row is as good as its source; the tests check how the suite handles it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.support.scripted_llm import Request
from tests.support.vendors.rules import (
    Rule,
    at_most_texts,
    needs_beside_calls,
    needs_empty_texts_filled,
    needs_input_type,
    no_keyword,
    no_null_content,
    no_schema,
    no_system,
    no_tools,
    refuses,
    refuses_value,
    roles_alternate,
    root_must_be_an_object,
    short_ids,
    starts_with_user,
    texts_in_enums,
    thinks,
    user_after_tool,
)


@dataclass(frozen=True)
class Vendor:
    """An endpoint and its rules.

    Attributes:
        name: Name in the table.
        chat: Rules for chat requests; None if it serves no chat models.
        embeddings: Rules for embedding requests; None if it serves no embedding models.
        shape: Form of its streams: ``openai``, ``parallel``, ``whole``, ``list``, ``unnumbered``, ``from one``,
            ``text`` (calls as text), ``legacy``.
        starved: Whether a request leaves a reasoning model no tokens for an answer.
        cached: Format in which it reports cached tokens; empty if it does not.
        fails: Interval of generations that fail on its side; 0 for none.
        path: Path of its address before the operation.
        query: Query of its address.
    """

    name: str
    chat: tuple[Rule, ...] | None = ()
    embeddings: tuple[Rule, ...] | None = ()
    shape: str = "openai"
    starved: Callable[[Request], bool] = lambda request: False
    cached: str = "prompt_tokens_details"
    fails: int = 0
    path: str = "/v1"
    query: str = ""


_ROOT = "Invalid schema for response_format 'function_call': schema must be a JSON Schema of 'type: \"object\"', got 'type: \"None\"'."
_ALTERNATE = "After the optional system message, conversation roles must alternate user/assistant/user/assistant/..."
_GEMINI_FIRST = (
    "Please ensure that function call turn comes immediately after a user turn or after a function response turn."
)
_OPENAI = (root_must_be_an_object(_ROOT),)
_O_SERIES = (
    root_must_be_an_object(_ROOT),
    refuses(
        "max_tokens",
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
    ),
    refuses("parallel_tool_calls", "Unsupported parameter: 'parallel_tool_calls' is not supported with this model."),
)

VENDORS: tuple[Vendor, ...] = (
    Vendor("OpenAI gpt-4o, gpt-4.1", _OPENAI, shape="parallel"),
    Vendor("OpenAI gpt-5, o-series", _O_SERIES, None, starved=thinks(2000)),
    Vendor("Azure OpenAI, /openai/v1", _OPENAI, path="/openai/v1"),
    Vendor("Azure OpenAI, deployments", _OPENAI, path="/openai/deployments/d", query="?api-version=2024-10-21"),
    Vendor("Ollama", (), cached=""),
    Vendor("Ollama, a model without tools", (no_tools("registry.ollama.ai/library/gemma:7b does not support tools"),), None, cached=""),
    Vendor("vLLM", ()),
    Vendor("vLLM without a tool parser", (no_tools('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'),)),
    Vendor("vLLM with a Mistral template", (roles_alternate(_ALTERNATE), short_ids("Tool call IDs should be alphanumeric strings with length 9!"))),
    Vendor("vLLM with Gemma 2", (no_tools("This model does not support tools"), no_system("System role not supported")), None),
    Vendor("llama.cpp", (), (at_most_texts(1, "input is too large to process. increase the physical batch size", 500),), cached="timings"),
    Vendor("llama.cpp without --jinja", (no_tools("tools param requires --jinja flag", 500),), None, cached="timings"),
    Vendor("LM Studio", (refuses_value("response_format", {"type": "json_object"}, "'response_format.type' must be 'json_schema' or 'text'"),), shape="text", cached=""),
    Vendor("SGLang", ()),
    Vendor("TGI", (root_must_be_an_object("Grammar error: Grammar must have a 'properties' field", 422),), None, cached=""),
    Vendor("TEI", None, (at_most_texts(32, "batch size 128 > maximum allowed batch size 32", 422),)),
    Vendor("LiteLLM, Claude behind it", (), shape="from one", cached="cache_read_input_tokens"),
    Vendor("LiteLLM, Cohere behind it", (refuses("response_format", "cohere does not support parameters: ['response_format']"),)),
    Vendor("OpenRouter", (refuses_value("tool_choice", "required", "No endpoints found that support the provided 'tool_choice' value.", 404),)),
    Vendor("OpenRouter, a model without tools", (no_tools("No endpoints found that support tool use. Try disabling \"send_message\".", 404),), None),
    Vendor("Groq", (lambda r: no_schema("json_schema is not supported with streaming: set stream to false")(r) if r.json.get("stream") else None, root_must_be_an_object(_ROOT)), None, fails=3),
    Vendor("Together", ()),
    Vendor("Fireworks", (refuses("tool_choice", "fireworks_ai does not support parameters: ['tool_choice']"),)),
    Vendor(
        "Mistral",
        (short_ids("Tool call id was {id} but must be a-z, A-Z, 0-9, with a length of 9."), user_after_tool("Unexpected role 'user' after role 'tool'"), no_null_content("Assistant message must have either content or tool_calls")),
        shape="list",
    ),
    Vendor("DeepSeek V4", (needs_beside_calls("reasoning_content", "The `reasoning_content` in the thinking mode must be passed back to the API."), no_schema("This response_format type is unavailable now")), None, starved=thinks(2000), cached="prompt_cache_hit_tokens"),
    Vendor(
        "Gemini, /v1beta/openai",
        (starts_with_user(_GEMINI_FIRST), texts_in_enums("Invalid value at 'tools.function_declarations[4].parameters.properties[2].value.enum[0]' (TYPE_STRING), true"), needs_beside_calls("thought_signature", "Function call is missing a thought_signature in functionCall parts.")),
        (at_most_texts(100, "at most 100 requests can be in one batch"),),
        shape="unnumbered",
        starved=thinks(1500),
        path="/v1beta/openai",
    ),
    Vendor("Anthropic, OpenAI layer", (needs_empty_texts_filled("messages: text content blocks must be non-empty"),), None, shape="parallel", cached=""),
    Vendor("Bedrock gateway", (starts_with_user("A conversation must start with a user message. Try again with a conversation that starts with a user message."), no_keyword("minimum", "The value at toolConfig.tools.0.toolSpec.inputSchema.json is invalid: keyword 'minimum' of the schema is not supported")), shape="from one"),
    Vendor("Moonshot kimi", (refuses_value("tool_choice", "required", "tool_choice 'required' is incompatible with thinking enabled"), needs_beside_calls("reasoning_content", "thinking is enabled but reasoning_content is missing in assistant tool call message at index 2")), None, starved=thinks(2000), cached="cached_tokens"),
    Vendor("Qwen / DashScope", (refuses_value("tool_choice", "required", "<400> InternalError.Algo.InvalidParameter: The tool_choice parameter does not support being set to required or object in thinking mode"),), (at_most_texts(10, "<400> InternalError.Algo.InvalidParameter: Value error, batch size is invalid, it should not be larger than 10.: input.contents"),)),
    Vendor("Zhipu / Z.AI", (refuses_value("tool_choice", "required", "Tool choice must be auto"), no_schema("response_format 只支持 json_object", 400)), (at_most_texts(64, "input数组最大不得超过64条"),)),
    Vendor("SiliconFlow", (no_tools("Function call is not supported for this model."),), (at_most_texts(64, "input batch size 128 > maximum allowed batch size 64", 413),)),
    Vendor("Voyage", None, (refuses("encoding_format", "Value 'float' supplied for argument 'encoding_format' is not valid"), at_most_texts(128, "The batch size limit is 128"))),
    Vendor("NVIDIA NIM (embeddings)", None, (needs_input_type("'input_type' parameter is required for asymmetric models", "query", "passage"),)),
    Vendor("Cohere (embeddings)", None, (needs_input_type("input_type is required: search_document, search_query", "search_query", "search_document"), at_most_texts(96, "invalid request: total number of texts must be at most 96"))),
)  # fmt: skip
