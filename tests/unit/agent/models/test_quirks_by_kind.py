# ruff: noqa: E501 - a vendor's wording a line
"""Quirks of endpoints by kind: histories, calls, reasoning, schemas, refusals and usage, each from a real vendor."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from memgpt.endpoints.address import parse_address
from memgpt.endpoints.refusals import Meaning, error_in, understand
from memgpt_agent.domain import Message, Role, Tool, Usage
from memgpt_agent.functions import BUILT_IN, Function
from memgpt_agent.functions.json_schema import in_short
from memgpt_agent.models.base import BadAnswerError, DeltaKind, FilteredError
from memgpt_agent.models.endpoint import CallMode
from memgpt_runtime import errors

from tests.support.scripted_llm import Completion, Raw, Reply, Request, ScriptedLLM, Status, Stream, call, chunk, say
from tests.unit.agent.fakes import user
from tests.unit.agent.models.asking import Sink, calls, model_at, question

Start = Callable[..., ScriptedLLM]
HELLO = [("send_message", {"message": "Hello."})]
GREETING = call("send_message", message="Hello.")
AS_JSON = say(
    json.dumps({"inner_thoughts": "", "call": {"function": "send_message", "arguments": {"message": "Hello."}}})
)


async def asked(start: Start, script: Any, mode: CallMode = CallMode.TOOLS) -> tuple[Any, Sink, ScriptedLLM]:
    """Ask once; return the completion, what a reader saw, and the server."""
    llm, sink = start(script), Sink()
    async with model_at(llm, mode) as model:
        return await model.complete(question(), sink), sink, llm


# Histories


async def test_gemini_wants_the_name_of_a_result(scripted_llm: Start) -> None:
    def gemini(request: Request) -> Reply:
        named = all(m.get("name") for m in request.messages if m["role"] == "tool")
        message = "* GenerateContentRequest.contents[2].parts[0].function_response.name: Name cannot be empty.\n"
        body = json.dumps([{"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}])
        return GREETING if named else Raw(body, code=400)

    answer, _, llm = await asked(scripted_llm, gemini)
    assert calls(answer) == HELLO
    assert "tools" in llm.requests[-1].json


async def test_bedrock_takes_no_blank_text(scripted_llm: Start) -> None:
    def bedrock(request: Request) -> Reply:
        blank = [n for n, m in enumerate(request.messages) if "content" in m and not (m["content"] or "").strip()]
        words = f"The text field in the ContentBlock object at messages.{blank and blank[0]}.content.0 is blank. Add text to the text field, and try again."
        return Status(400, words) if blank else GREETING

    answer, _, llm = await asked(scripted_llm, bedrock)
    assert calls(answer) == HELLO
    assert "tools" in llm.requests[-1].json


UNDESCRIBED = Function(
    "look_up", "", (), heartbeat_default=True,
    tool=Tool("look_up", "", "{}", "localhost:1"),
    schema={"type": "object", "properties": {"some_word": {"type": "string", "description": ""},
            "more": {"type": "object", "properties": {"deep": {"type": "integer"}}}}},
)  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        "'dict object' has no attribute 'description'",
        "tools.0.function.parameters.properties.some_word.description: field required",
        "invalid tool: parameter 'some_word' must have a description",
        "invalid request: tool parameter some_word is missing a description",
        "functions.look_up.parameters.some_word.description should not be empty",
    ],
)
async def test_every_parameter_needs_a_description(scripted_llm: Start, words: str) -> None:
    """The template of Command R+, and Cohere's own endpoint."""

    def cohere(request: Request) -> Reply:
        declared = [tool["function"] for tool in request.json.get("tools") or ()]
        objects = [one for function in declared for one in objects_of(function["parameters"])]
        described = all(value.get("description") for one in objects for value in one["properties"].values())
        whole = described and all(function["description"] for function in declared)
        return GREETING if whole else Status(400, words)

    llm = scripted_llm(cohere)
    brief = tuple(in_short(function) for function in BUILT_IN)
    async with model_at(llm) as model:
        answer = await model.complete(question(functions=(*brief, UNDESCRIBED)), Sink())
    assert calls(answer) == HELLO
    first, last = llm.requests[0].json["tools"], llm.requests[-1].json["tools"]
    assert '"description": ""' not in json.dumps(first)
    assert last[-1]["function"]["parameters"]["properties"]["some_word"]["description"] == "Some word"


@pytest.mark.parametrize(
    "words",
    [
        "Each message must have at least one content element.",
        "<400> InternalError.Algo.InvalidParameter: The content field is a required field.",
        "Unable to submit request because it must include at least one parts field, which describes the prompt input.",
        "invalid params, chat content is empty (2013)",
    ],
)
async def test_a_call_needs_a_text(scripted_llm: Start, words: str) -> None:
    """xAI, DashScope, Vertex and MiniMax."""

    def vendor(request: Request) -> Reply:
        return GREETING if all(m["content"] for m in request.messages) else Status(400, words)

    answer, _, llm = await asked(scripted_llm, vendor)
    assert calls(answer) == HELLO
    assert "tools" in llm.requests[-1].json


BLOCKS: dict[str, tuple[str, list[Any], list[Any], str]] = {
    "OpenRouter": (
        "reasoning_details",
        [
            [{"type": "reasoning.text", "text": "They ", "index": 0}],
            [{"type": "reasoning.text", "text": "greet.", "signature": "abc", "index": 0}],
            [{"type": "reasoning.encrypted", "data": "e1", "index": 1}, {"type": "reasoning.encrypted", "data": "e2", "index": 1}],
        ],
        [
            {"type": "reasoning.text", "text": "They greet.", "signature": "abc", "index": 0},
            {"type": "reasoning.encrypted", "data": "e1", "index": 1},
            {"type": "reasoning.encrypted", "data": "e2", "index": 1},
        ],
        "Gemini models require OpenRouter reasoning details to be preserved in each request: Function call is missing a thought_signature",
    ),
    "LiteLLM": (
        "thinking_blocks",
        [
            [{"type": "thinking", "thinking": "They ", "signature": ""}],
            [{"type": "thinking", "thinking": "greet."}],
            [{"type": "thinking", "thinking": "", "signature": "abc"}],
            [{"type": "redacted_thinking", "data": "r1"}],
            [{"type": "redacted_thinking", "data": "r2"}],
        ],
        [
            {"type": "thinking", "thinking": "They greet.", "signature": "abc"},
            {"type": "redacted_thinking", "data": "r1"},
            {"type": "redacted_thinking", "data": "r2"},
        ],
        "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`. When `thinking` is enabled, a final `assistant` message must start with a thinking block.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("vendor", BLOCKS)
async def test_blocks_of_reasoning_are_sent_back(scripted_llm: Start, vendor: str) -> None:
    """Also by another process, to which they come with the stored call."""
    field, pieces, whole, words = BLOCKS[vendor]

    def demanding(request: Request) -> Reply:
        called = [m for m in request.messages if m.get("tool_calls")]
        if any(m.get(field) != whole for m in called):
            return Status(400, words)
        made = [{"index": 0, "id": "x", "function": {"name": "send_message", "arguments": '{"message": "Hello."}'}}]
        return Stream((*(chunk(**{field: piece}) for piece in pieces), chunk(tool_calls=made)))

    llm = scripted_llm(demanding)
    history = [user("Hello?")]
    for _ in range(2):
        async with model_at(llm) as model:
            answer = await model.complete(question(*history), Sink())
        assert calls(answer) == HELLO
        assert answer.call is not None
        result = Message(Role.TOOL, "{}", call_id=answer.call.call_id)
        history += [Message(Role.ASSISTANT, "", function_call=answer.call), result, user("And?")]
    assert field not in json.dumps(llm.requests[1].json), "only where it is demanded"
    assert "tools" in llm.requests[-1].json


TAGGING = Function(
    "tag", "Sets tags.", (), heartbeat_default=True,
    tool=Tool("tag", "", "{}", "localhost:1"),
    schema={"type": "object", "properties": {"tags": {"type": "array"}, "note": {"type": ["string", "null"]}, "any": True}},
)  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        "Invalid JSON payload received. Unknown name \"type\" at 'tools.function_declarations[9].parameters.properties[1].value': Proto field is not repeating, cannot start list.",
        "tools.9.function.parameters.properties.note.type: Input should be a valid string",
    ],
)
async def test_a_schema_of_a_tool_that_a_vendor_cannot_read(scripted_llm: Start, words: str) -> None:
    """Gemini takes one type, and everyone wants to know what an array holds."""

    def gemini(request: Request) -> Reply:
        declared = json.dumps(request.json.get("tools"))
        return Status(400, words) if '"type": [' in declared else GREETING

    llm = scripted_llm(gemini)
    async with model_at(llm) as model:
        answer = await model.complete(question(functions=(*BUILT_IN, TAGGING)), Sink())
    assert calls(answer) == HELLO
    properties = llm.requests[-1].json["tools"][-1]["function"]["parameters"]["properties"]
    assert properties["note"] == {"type": "string"}
    assert properties["tags"]["items"] == {"type": "string"}
    assert properties["any"] == {}


# Calls


@pytest.mark.parametrize("whole", [False, True])
async def test_the_call_is_in_the_second_choice(scripted_llm: Start, whole: bool) -> None:
    """Claude behind GitHub Copilot: the text is the first choice, the call the second."""
    made = [
        {
            "index": 0,
            "id": "a",
            "type": "function",
            "function": {"name": "send_message", "arguments": '{"message": "Hello."}'},
        }
    ]
    if whole:
        body = {"choices": [{"finish_reason": "tool_calls", "message": {"role": "assistant", "content": "I greet."}},
                            {"finish_reason": "tool_calls", "message": {"role": "assistant", "tool_calls": made}}]}  # fmt: skip
        answer, _, _ = await asked(scripted_llm, [Raw(json.dumps(body))])
    else:
        events = [
            chunk(content="I greet."),
            json.dumps({"choices": [{"index": 1, "delta": {"tool_calls": made}}]}),
            chunk("tool_calls"),
        ]
        answer, _, _ = await asked(scripted_llm, [Stream(events)])
    assert calls(answer) == HELLO
    assert answer.text == "I greet."


WRITTEN = {
    "seed": "<seed:tool_call>\n<function=send_message>\n<parameter=message>Hello.</parameter>\n</function>\n</seed:tool_call>",
    "hunyuan": '<tool_calls>\n<tool_call>send_message\n```json\n{"message": "Hello."}\n```\n</tool_call>\n</tool_calls>',
    "apertus": '<|tools_prefix|>[{"send_message": {"message": "Hello."}}]<|tools_suffix|>',
    "nemotron": '<TOOLCALL>[{"name": "send_message", "arguments": {"message": "Hello."}}]</TOOLCALL>',
    "jamba": '<tool_calls>[\n{"name": "send_message", "arguments": {"message": "Hello."}}\n]</tool_calls>',
    "internlm": '<|action_start|><|plugin|>\n{"name": "send_message", "parameters": {"message": "Hello."}}<|action_end|>',
    "step": '<steptml:toolcall><steptml:invoke name="send_message"><steptml:parameter name="message">Hello.</steptml:parameter></steptml:invoke></steptml:toolcall>',
    "openhermes": '<functioncall> {"name": "send_message", "arguments": \'{"message": "Hello."}\'}',
    "glm 4.7": "<tool_call>send_message<arg_key>message</arg_key><arg_value>Hello.</arg_value></tool_call>",
    "gemma 4": '<|tool_call>call:send_message{message:<|"|>Hello.<|"|>}<tool_call|>',
    "kimi k3": '<|open|>think<|sep|>I greet.<|close|>think<|sep|><|open|>response<|sep|><|close|>response<|sep|><|open|>tools<|sep|><|open|>call tool="send_message" index="1"<|sep|><|open|>argument key="message" type="string"<|sep|>Hello.<|close|>argument<|sep|><|close|>call<|sep|><|close|>tools<|sep|>',
    "kimi k3, json": '<|open|>tools<|sep|><|open|>call tool="send_message" index="1"<|sep|><|open|>json type="object"<|sep|>{"message": "Hello."}<|close|>json<|sep|><|close|>call<|sep|><|close|>tools<|sep|>',
    "minimax m3": ']<]minimax[>[<tool_call>\n]<]minimax[>[<invoke name="send_message">]<]minimax[>[<message>Hello.]<]minimax[>[</message>]<]minimax[>[</invoke>\n]<]minimax[>[</tool_call>',
    "minicpm 5": '<function name="send_message"><param name="message"><![CDATA[Hello.]]></param></function>',
    "hunyuan 3": "<tool_calls:opensource>\n<tool_call:opensource>send_message<tool_sep:opensource>\n<arg_key:opensource>message</arg_key:opensource>\n<arg_value:opensource>Hello.</arg_value:opensource>\n</tool_call:opensource>\n</tool_calls:opensource>",
    "gpt-oss, recipient first": '<|start|>assistant to=functions.send_message<|channel|>commentary json<|message|>{"message": "Hello."}<|call|>',
    "phi mini": '<|tool_call|>[{"type": "function", "function": {"name": "send_message", "parameters": {"message": "Hello."}}}]<|/tool_call|>',
}


@pytest.mark.parametrize("dialect", WRITTEN)
@pytest.mark.parametrize("pieces", [1, 7])
async def test_a_call_written_in_another_dialect(scripted_llm: Start, dialect: str, pieces: int) -> None:
    answer, sink, llm = await asked(scripted_llm, [say(WRITTEN[dialect], pieces=pieces)])
    assert calls(answer) == HELLO
    assert len(llm.requests) == 1
    assert "<" not in answer.text + sink.text[DeltaKind.THOUGHT]


# Reasoning

REASONED = {
    "gpt-oss": "<|channel|>analysis<|message|>Secret.<|end|><|start|>assistant<|channel|>final<|message|>Hello.",
    "seed": "<seed:think>Secret.</seed:think>Hello.",
    "thought": "<thought>Secret.</thought>\nHello.",
    "kimi vl": "◁think▷Secret.◁/think▷Hello.",
    "cohere": "<|START_THINKING|>Secret.<|END_THINKING|><|START_RESPONSE|>Hello.<|END_RESPONSE|>",
    "apertus": "<|inner_prefix|>Secret.<|inner_suffix|>Hello.",
    "exaone": "<thought>\nSecret.\n</thought>\n\nHello.",
    "minimax m3": "<mm:think>Secret.</mm:think>Hello.",
    "hunyuan 3": "<think:opensource>Secret.</think:opensource>Hello.",
    "kimi k3": "<|open|>think<|sep|>Secret.<|close|>think<|sep|><|open|>response<|sep|>Hello.<|close|>response<|sep|>",
    "gemma 4": "<|channel>thought\nSecret.<channel|>Hello.",
    "hunyuan": "<think>\nSecret.\n</think>\n<answer>\nHello.</answer>",
    "minicpm 3": "<|thought_start|>\nSecret.\n<|thought_end|>\nHello.",
    "ernie": "<think>\nSecret.\n</think>\n\n\n<response>\nHello.</response>",
    "glm 4.5v": "<think>Secret.</think><|begin_of_box|>Hello.<|end_of_box|>",
    "glm 4.1v": "<think>Secret.</think><answer><|begin_of_box|>Hello.<|end_of_box|></answer>",
    "open thoughts": "<|begin_of_thought|>Secret.<|end_of_thought|><|begin_of_solution|>Hello.<|end_of_solution|>",
}


@pytest.mark.parametrize("vendor", REASONED)
async def test_marked_reasoning_never_reaches_the_user(scripted_llm: Start, vendor: str) -> None:
    answer, sink, _ = await asked(scripted_llm, [call("send_message", message=REASONED[vendor])])
    assert calls(answer) == HELLO
    assert sink.text[DeltaKind.MESSAGE].strip() == "Hello."


@pytest.mark.parametrize(
    "text",
    [
        "Here are my reasoning steps:\nSecret.\n[BEGIN FINAL RESPONSE]\nHello.",
        "Here is my thought process:\nSecret.\n\nHere is my response:\nHello.",
    ],
    ids=["apriel", "granite 3.2"],
)
async def test_reasoning_that_is_marked_by_words_is_removed_from_a_text(scripted_llm: Start, text: str) -> None:
    """A message may begin with the same words: see `test_a_message_may_begin_like_reasoning_in_words`."""
    answer, _, _ = await asked(scripted_llm, [say(text)])
    assert "Secret" not in answer.text
    assert "Hello." in answer.text


@pytest.mark.parametrize(
    "words",
    [
        "`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking#max-tokens-and-context-window-size",
        "The maximum tokens you requested exceeds the thinking budget: max_tokens must be greater than thinking.budget_tokens",
    ],
)
async def test_a_limit_that_must_exceed_the_thinking_budget(scripted_llm: Start, words: str) -> None:
    def claude(request: Request) -> Reply:
        return Status(400, words) if request.json.get("max_tokens", 9999) <= 1024 else GREETING

    answer, _, llm = await asked(scripted_llm, claude)
    assert calls(answer) == HELLO
    assert "tools" in llm.requests[-1].json


@pytest.mark.parametrize(
    "words",
    [
        "max_tokens is too large: {asked}. This model supports at most 1500 completion tokens, whereas you provided {asked}.",
        "Invalid max_tokens value, the valid range of max_tokens is [1, 1500]",
        "`max_tokens` must be less than or equal to `1500`, the maximum value for `max_tokens` is less than the `context_window` for this model",
        "<400> InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, 1500]",
        "max_tokens: {asked} > 1500, which is the maximum allowed number of output tokens for m",
    ],
)
async def test_more_room_than_the_model_has(scripted_llm: Start, words: str) -> None:
    """A model that thinks is given more tokens, but no more than the endpoint says it takes."""

    def limited(request: Request) -> Reply:
        given = request.json.get("max_tokens") or 0
        if given > 1500:
            return Status(400, words.format(asked=given))
        return Completion(content="", finish_reason="length") if given < 1200 else GREETING

    answer, _, _ = await asked(scripted_llm, limited)
    assert calls(answer) == HELLO


async def test_reasoning_without_room_is_refused(scripted_llm: Start) -> None:
    """OpenAI's answer to a model that spent its tokens before it had written anything is an error."""

    def openai(request: Request) -> Reply:
        given = request.json.get("max_tokens") or 0
        words = "Could not finish the message because max_tokens or model output limit was reached. Please try again with higher max_tokens."
        return GREETING if given > 3000 else Status(400, words)

    answer, _, llm = await asked(scripted_llm, openai)
    assert calls(answer) == HELLO
    assert "max_tokens" in llm.requests[-1].json


async def test_an_account_that_pays_for_fewer_tokens(scripted_llm: Start) -> None:
    """OpenRouter refuses the room for an answer, not the request."""

    def openrouter(request: Request) -> Reply:
        given = request.json.get("max_tokens") or 0
        if given > 3000:
            words = f"This request requires more credits, or fewer max_tokens. You requested up to {given} tokens, but can only afford 3000. To increase, visit https://openrouter.ai/settings/credits and upgrade to a paid account"
            return Status(402, words)
        return Completion(content="", finish_reason="length") if given < 2000 else GREETING

    answer, _, _ = await asked(scripted_llm, openrouter)
    assert calls(answer) == HELLO


async def test_the_filter_of_gemini_names_its_reason(scripted_llm: Start) -> None:
    filtered = Stream((chunk(content="Well"), chunk("content_filter: RECITATION")))
    with pytest.raises(BadAnswerError, match="content filter"):
        await asked(scripted_llm, [filtered, filtered])


@pytest.mark.parametrize("text", ["", "Well"])
async def test_a_prompt_that_is_rejected_by_the_end_of_an_empty_answer(scripted_llm: Start, text: str) -> None:
    filtered = Stream((chunk(content=text), chunk("content_filter: PROHIBITED_CONTENT")))
    with pytest.raises(BadAnswerError) as caught:
        await asked(scripted_llm, [filtered, filtered])
    assert isinstance(caught.value, FilteredError) is not bool(text)


# Schemas


@pytest.mark.parametrize(
    ("words", "stays"),
    [
        ("Invalid schema for response_format 'function_call': In context=('properties', 'call', 'anyOf', '0'), 'required' is required to be supplied and to be an array including every key in properties. Missing 'page'.", True),
        ("output_format.schema: For 'integer' type, properties maximum, minimum are not supported", True),
        ("Unsupported JSON schema fields: {'minimum'}", True),
        ("The provided JSON schema contains features not supported by xgrammar.", False),
        ("guided_decoding is not enabled: failed to build grammar", False),
        ("Failed to convert the grammar from GBNF to JSON: Unrecognized schema", False),
    ],
)  # fmt: skip
async def test_a_schema_that_is_refused(scripted_llm: Start, words: str, stays: bool) -> None:
    def strict(request: Request) -> Reply:
        schema = (request.json.get("response_format") or {}).get("json_schema", {}).get("schema")
        if schema is None:
            return AS_JSON
        text = json.dumps(schema)
        incomplete = any(set(found["properties"]) - set(found.get("required", ())) for found in objects_of(schema))
        wrong = incomplete if "Missing" in words else '"minimum"' in text or not stays
        return Status(400, words) if wrong else AS_JSON

    answer, _, llm = await asked(scripted_llm, strict, CallMode.JSON_SCHEMA)
    assert calls(answer) == HELLO
    kind = (llm.requests[-1].json.get("response_format") or {}).get("type")
    assert (kind == "json_schema") is stays


def objects_of(schema: Any) -> list[dict[str, Any]]:
    """Return all objects with properties in a schema."""
    below = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    found = [one for value in below for one in objects_of(value)]
    return [schema, *found] if isinstance(schema, dict) and isinstance(schema.get("properties"), dict) else found


# Refusals

LIMITED = [
    (429, "已超过每分钟请求额度"), (429, "您的账户已达到速率限制，请您控制请求频率"), (429, "当前请求过多，请稍后再试"),
    (400, "请求过于频繁，请稍后再试"), (403, "触发限流，请降低请求频率"), (429, "您已达到每分钟 token 数上限（TPM）"),
    (429, "該帳號每分鐘請求次數已達上限"), (429, "リクエストが多すぎます。しばらくしてからもう一度お試しください。"),
    (429, "1分あたりのリクエスト数の上限を超えました"), (429, "요청 한도를 초과했습니다. 잠시 후 다시 시도하세요."),
    (429, "Превышен лимит запросов в минуту"), (429, "Ha superado el límite de solicitudes por minuto"),
    (429, "Vous avez dépassé la limite de requêtes par minute"), (429, "Anfragelimit pro Minute überschritten"),
    (429, "您的免费额度每分钟 3 次请求已用尽"), (429, "You exceeded your current requests per minute quota, please check your plan and billing details."),
    (429, "Request was rejected due to rate limiting. Details: TPM limit reached."), (429, "组织最大 RPM 超限: max RPM: 3"),
]  # fmt: skip
PAID = [
    (429, "账户余额不足，请充值"), (403, "您的账户已欠费"), (429, "余额不足或无可用资源包,请充值。"), (401, "该令牌额度已用尽"),
    (403, "预扣费额度失败, 用户剩余额度: $0.01"), (402, "残高が不足しています"), (402, "잔액이 부족합니다"),
    (402, "Недостаточно средств на балансе"), (402, "Saldo insuficiente"), (500, "insufficient balance (1008)"),
    (429, "You exceeded your current quota, please check your plan and billing details."),
]  # fmt: skip


@pytest.mark.parametrize(("status", "words"), LIMITED)
def test_a_rate_limit_in_any_language(status: int, words: str) -> None:
    assert understand(status, json.dumps({"error": {"message": words}})).meaning is Meaning.RATE_LIMITED


@pytest.mark.parametrize(("status", "words"), PAID)
def test_a_balance_in_any_language(status: int, words: str) -> None:
    assert understand(status, json.dumps({"error": {"message": words}})).meaning is Meaning.OUT_OF_BALANCE


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (
            200,
            {"id": "", "choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}},
            Meaning.OUT_OF_BALANCE,
        ),
        (
            200,
            {"choices": [], "base_resp": {"status_code": 1002, "status_msg": "rate limit exceeded(RPM)"}},
            Meaning.RATE_LIMITED,
        ),
        (
            429,
            {
                "success": False,
                "errors": [{"code": 3040, "message": "AiError: Capacity temporarily exceeded, please try again."}],
                "result": {},
            },
            Meaning.RATE_LIMITED,
        ),
        (400, {"message": "Tool use has not been enabled, because it is unsupported by m."}, Meaning.NO_TOOLS),
        (429, {"message": "Too many tokens, please wait before trying again."}, Meaning.RATE_LIMITED),
        (400, {"message": "Too many tokens, please wait before trying again."}, Meaning.RATE_LIMITED),
        (
            400,
            {
                "error": {
                    "message": "Budget has been exceeded! Current cost: 1.2, Max budget: 1.0",
                    "type": "budget_exceeded",
                }
            },
            Meaning.OUT_OF_BALANCE,
        ),
        (
            200,
            {
                "choices": None,
                "base_resp": {
                    "status_code": 1004,
                    "status_msg": "login fail: Please carry the API secret key in the 'Authorization' field of the request header",
                },
            },
            Meaning.BAD_KEY,
        ),
        (402, {"error": {"message": "Insufficient credits", "code": 402}}, Meaning.OUT_OF_BALANCE),
        (424, {"error": {"message": "Model stream error", "type": "ModelErrorException"}}, Meaning.UNAVAILABLE),
        (529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, Meaning.UNAVAILABLE),
        (
            400,
            {
                "success": False,
                "errors": [
                    {
                        "message": "AiError: Bad input: Error: oneOf at '/' not met: the estimated number of input and maximum output tokens (9000) exceeded this model context window limit (7968)",
                        "code": 5021,
                    }
                ],
            },
            Meaning.TOO_LONG,
        ),
    ],
)
def test_errors_in_other_envelopes(status: int, body: dict[str, Any], meaning: Meaning) -> None:
    assert status != 200 or error_in(body) is not None
    assert understand(status, json.dumps(body)).meaning is meaning


async def test_an_empty_error_beside_an_answer_is_none(scripted_llm: Start) -> None:
    """Gateways in Go send their empty structures."""
    made = [{"id": "1", "function": {"name": "send_message", "arguments": '{"message": "Hello."}'}}]
    error = {"message": "", "type": "", "param": None, "code": 0}
    body = {"choices": [{"message": {"tool_calls": made}}], "error": error}
    answer, _, llm = await asked(scripted_llm, [Raw(json.dumps(body))])
    assert calls(answer) == HELLO
    assert len(llm.requests) == 1


async def test_an_error_of_minimax_inside_an_answer(scripted_llm: Start) -> None:
    body = {
        "id": "x",
        "choices": None,
        "created": 1,
        "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"},
    }
    with pytest.raises(errors.ServiceError, match="insufficient balance"):
        await asked(scripted_llm, lambda _: Raw(json.dumps(body)))
    sensitive = {"choices": [{"finish_reason": "stop", "message": {"content": ""}}],
                 "base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"}}  # fmt: skip
    with pytest.raises(FilteredError, match="new_sensitive"):
        await asked(scripted_llm, lambda _: Raw(json.dumps(sensitive)))
    fine = {"choices": [{"message": {"tool_calls": [{"id": "1", "function": {"name": "send_message", "arguments": '{"message": "Hello."}'}}]}}],
            "base_resp": {"status_code": 0, "status_msg": ""}}  # fmt: skip
    answer, _, _ = await asked(scripted_llm, [Raw(json.dumps(fine))])
    assert calls(answer) == HELLO


# Usage

USAGES: dict[str, list[dict[str, Any]]] = {
    "Moonshot, in the choice": [
        {
            "choices": [
                {
                    "delta": {},
                    "finish_reason": "stop",
                    "usage": {"prompt_tokens": 900, "completion_tokens": 5, "total_tokens": 905, "cached_tokens": 850},
                }
            ]
        }
    ],
    "Groq, aside": [
        {
            "choices": [{"delta": {}, "finish_reason": "tool_calls"}],
            "x_groq": {
                "id": "req",
                "usage": {
                    "prompt_tokens": 900,
                    "completion_tokens": 5,
                    "prompt_tokens_details": {"cached_tokens": 850},
                },
            },
        }
    ],
    "llama.cpp, timings only": [
        {
            "choices": [{"delta": {}, "finish_reason": "stop"}],
            "timings": {"cache_n": 850, "prompt_n": 50, "predicted_n": 5},
        }
    ],
    "Gemini, its own": [
        {"usageMetadata": {"promptTokenCount": 900, "candidatesTokenCount": 5, "cachedContentTokenCount": 850}}
    ],
    "Anthropic, read and written": [
        {
            "choices": [],
            "usage": {
                "input_tokens": 20,
                "cache_creation_input_tokens": 30,
                "cache_read_input_tokens": 850,
                "output_tokens": 5,
            },
        }
    ],
    "Fireworks, floats": [
        {
            "choices": [],
            "usage": {
                "prompt_tokens": 900.0,
                "completion_tokens": 5.0,
                "prompt_tokens_details": {"cached_tokens": 850.0},
            },
        }
    ],
}


@pytest.mark.parametrize("vendor", USAGES)
async def test_cached_tokens_in_other_places(scripted_llm: Start, vendor: str) -> None:
    first = chunk(
        tool_calls=[{"index": 0, "id": "a", "function": {"name": "send_message", "arguments": '{"message": "Hello."}'}}]
    )
    answer, _, _ = await asked(
        scripted_llm, [Stream([first, *(json.dumps(event) for event in USAGES[vendor]), "[DONE]"])]
    )
    assert calls(answer) == HELLO
    assert answer.usage == Usage(900, 5, 850)


def test_no_wording_here_is_in_two_lists() -> None:
    assert not {re.sub(r"\W", "", words) for _, words in LIMITED} & {re.sub(r"\W", "", words) for _, words in PAID}


# Addresses


@pytest.mark.parametrize(
    ("written", "base_url"),
    [
        ("https://models.github.ai", "https://models.github.ai/inference"),
        ("https://models.github.ai/inference/chat/completions", "https://models.github.ai/inference"),
        (
            "https://bedrock-runtime.us-west-2.amazonaws.com",
            "https://bedrock-runtime.us-west-2.amazonaws.com/openai/v1",
        ),
        ("https://qianfan.baidubce.com", "https://qianfan.baidubce.com/v2"),
        ("https://api.perplexity.ai", "https://api.perplexity.ai"),
        ("https://api.perplexity.ai/chat/completions", "https://api.perplexity.ai"),
        ("https://api.githubcopilot.com/", "https://api.githubcopilot.com"),
        ("https://api.llama.com/compat", "https://api.llama.com/compat/v1"),
        ("https://api.friendli.ai", "https://api.friendli.ai/serverless/v1"),
        ("https://api.ai21.com/studio/v1/chat/completions", "https://api.ai21.com/studio/v1"),
        ("https://dbc-1.cloud.databricks.com", "https://dbc-1.cloud.databricks.com/serving-endpoints"),
        (
            "https://adb-1.2.azuredatabricks.net/serving-endpoints/",
            "https://adb-1.2.azuredatabricks.net/serving-endpoints",
        ),
        ("https://api.minimax.io/v1/text/chatcompletion_v2", "https://api.minimax.io/v1"),
    ],
)
def test_addresses_of_vendors(written: str, base_url: str) -> None:
    assert parse_address(written).base_url == base_url
