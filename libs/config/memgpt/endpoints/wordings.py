"""Patterns for the texts in which endpoints refuse requests, sorted by meaning.

Data only: `refusals` has the order in which they are tried, and the statuses and codes with the same meaning. Every
pattern is searched for in the error's code and text, ignoring case. Vendors change their wording, so the patterns match
the parts that similar wordings share.
"""

# ruff: noqa: E501 - one pattern a line

from __future__ import annotations

import re


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE)


PER_TIME = _any(
    r"(?:tokens?|requests?|queries|calls)[ _-]*(?:\w+ )?per[ _-]*(?:second|minute|min|hour|day)",
    r"\b(?:[TRQ]P[MDS]|itpm|otpm)\b",
    r"rate[ _-]?limit",
    r"too many (?:concurrent )?requests",
    r"throttl(?:ed|ing)",
    r"(?:request|call) (?:frequency|rate)",
    r"concurren(?:cy|t)[ \w]*(?:limit|exceed|reached)",
    r"resource[_ ]exhausted",
    r"slow (?:down|your requests)|too many open requests|request limit (?:reached|exceeded)",
    r"(?:tokens?|requests?)\b.{0,12}\bper \d+ ?(?:s\b|seconds?|minutes?|hours?)|(?:hourly|daily|weekly)\b.{0,20}\b(?:limit|quota)",
    r"usage limit (?:reached|exceeded)|call volume quota",
    r"(?:please )?wait before (?:trying|retrying|sending)|exhausted your capacity|(?<!cache )(?<!context )(?<!memory )capacity (?:limit )?exceeded|no capacity|quota will reset",
    r"速率|频率|频繁|頻繁|限流|请求过多|請求過多|并发|每\s*(?:秒|分钟|分鐘|小时|小時|天|日)|(?:请求|請求|调用|调用次数|次数).{0,8}(?:上限|超限)",
    r"リクエスト.{0,20}(?:上限|多すぎ|制限)|レート制限|요청.{0,12}(?:한도|너무 많|제한)",
    r"(?:лимит|много|слишком част).{0,20}запрос|запросов в (?:минуту|секунду)",
    r"l[ií]mite de (?:solicitudes|peticiones|requisi|taxa|tasa|requ[eê]tes)|demasiadas (?:solicitudes|peticiones)|muitas (?:solicita|requisi)|trop de requ[eê]tes|zu viele anfragen|anfragelimit",
)
"""A limit of requests or tokens per time: it passes, and a shorter prompt does not help permanently."""

NAMES_A_SHORT_TIME = _any(
    r"per[ _-]*(?:second|minute|min\b|hour)|/ ?(?:s|sec|min|minute|hour)\b|\b(?:[TRQ]P[MS]|itpm|otpm)\b",
    r"每\s*(?:秒|分钟|分鐘|小时|小時)|[分秒](?:間)?あたり|분당|초당",
)
"""Words that make a quota one of requests or tokens in a short time, and not one of money."""

ABOUT_MONEY = _any(r"insufficient|balance|credits?\b|funds|arrear|overdue|set inference limit|余额|餘額|欠费|充值|令牌")
"""Words for money, which make even a quota that names a time one of money."""

OUT_OF_BALANCE = _any(
    r"insufficient[ _-]?(?:(?:account|user|token)[ _-]?)?(?:balance|quota|credit|funds)",
    r"(?:not enough|no|out of|run out of|requires? more|exhausted (?:your|all)?) ?(?:balance|credits?|funds)",
    r"credit balance|(?:balance|(?:user|token) quota) (?:is )?(?:insufficient|too low|not enough)",
    r"exceeded (?:your )?current[ _]quota",
    r"(?:does not|doesn'?t) have any credits|free tier (?:of the model )?(?:has been |is )?exhausted|free[ _-]?tier[ _-]?only",
    r"reached the set inference limit|specified API usage limits?",
    r"billing[ _-](?:hard[ _-]limit|not[ _-]active|details)",
    r"payment[ _-](?:is )?required|(?:spend(?:ing)?|(?<!thinking[ _-])(?<!reasoning[ _-])(?<!token[ _-])budget)[ _-]limit",
    r"(?:monthly|this month'?s)\b.{0,20}\b(?:limit|quota|budget)|spend(?:ing)? cap|\bkey limit exceeded",
    r"(?<!thinking[ _-])(?<!reasoning[ _-])(?<!token[ _-])budget[ _-](?:has been |was )?exceeded|purchase more|recharge|\btop[ -]up\b",
    r"arrear|overdue",
    r"account is (?:not active|deactivated|suspended)",
    r"(?:余额|餘額)不足|欠费|欠費|额度|額度|请充值|残高|잔액|잔고",
    r"недостаточно средств|saldo (?:es )?insuficiente|sem saldo|solde insuffisant|guthaben (?:ist )?(?:aufgebraucht|nicht ausreichend|reicht nicht)",
)
"""The account has no money left, or is closed."""

BAD_KEY = _any(
    r"(?:invalid|incorrect|wrong|missing|expired|no|malformed|revoked)[ _-](?:api[ _-]?|authentication[ _-]?|authorization[ _-]?|access[ _-]?)?(?:key|token|credentials?)\b(?!.{0,20}count)",
    r"api[ _-]?key (?:is )?(?:not valid|invalid|missing|expired|not found|required)",
    r"authentication (?:fails?|failed|error|required)",
    r"(?:token|key|credentials?) (?:included in the request )?(?:is|are|has|was reported as) (?:invalid|expired|revoked|leaked)|missing authentication",
    r"(?:missing|invalid) (?:or (?:missing|invalid) )?authorization",
    r"authentication (?:parameter |header )?(?:is |was )?(?:missing|not received)",
    r"unauthori[sz]ed|unauthenticated|invalid authentication|log[ -]?in fail",
    r"令牌|密钥|鉴权|身份验证",
)

COUNTRY = _any(
    r"unsupported_country",
    r"(?:country|region|territory|location)\b.{0,60}(?:not |un)(?:supported|available|allowed)",
    r"(?:not |un)(?:supported|available|allowed) in your (?:country|region|location)",
    r"(?:country|region|location) is (?:restricted|blocked|forbidden)",
)

FILTERED = _any(
    r"content[ _-]?(?:filter|management|policy|moderation|exists? risk|violat|risk|safety|security)",
    r"responsible[ _-]?ai",
    r"data[ _-]?inspection",
    r"inappropriate|prohibited[ _-](?:content|use|terms?|words?)|objectionable|illegal content|trust (?:and|&) safety",
    r"prompt[ _-]injection|jail ?break",
    r"(?:input|prompt|content|request|output|message|text)s?\b.{0,80}\b(?:flagged|blocked|moderat|(?<!case[ -])sensitive|unsafe|harmful|violat(?!\w*.{0,20}\bschema))",
    r"(?:flagged|blocked)\b.{0,60}(?:safety|policy|moderation|filter|content)",
    r"moderation|safety (?:system|filter|settings|reasons?|check)",
    r"usage polic(?:y|ies)|acceptable use|guardrail|block[ _]?reason",
    r"(?:considered|deemed) (?:as )?high[ _-]?risk|new_sensitive|(?:disallowed|banned|forbidden) (?:words?|terms?|content)",
    r"敏感|违规|违禁|违法|(?:内容|输入|输出|文本|信息).{0,12}不合规|不安全|审核|风险|不適切|有害|부적절|유해",
)
"""A content filter on the input or the output of the model."""

GENERATION_FAILED = _any(
    r"tool[ _-]?use[ _-]?failed",
    r"json[ _-]?validate[ _-]?failed",
    r"failed[ _-]generation",
    r"output[ _-]?parse[ _-]?failed",
    r"failed to (?:call a function|generate (?:valid )?json|parse (?:the )?(?:tool|function|model|generated|output|response|json))",
    r"malformed[ _-]?(?:function|tool)[ _-]?call",
    r"(?:model|generated|output|generation|completion)\b.{0,60}\b(?:invalid|malformed|unparsable|not valid|did not match)\b.{0,40}(?:json|tool|function|schema|call)",
    r"(?:invalid|malformed|unparsable) (?:json|tool call|function call)\b.{0,40}\b(?:generated|produced|returned|output) by",
    r"tool call validation failed|did not call (?:a|any|the required) (?:tool|function)",
    r"(?:generated|output|answer)\b.{0,40}\bcould not be (?:parsed|read|decoded)|failed to parse input at pos",
    r"generated json does not match|output is not a valid",
    r"error parsing tool call|unexpected_tool_call",
    r"XML syntax error|produced invalid sequence as part of tool",
)
"""The model wrote something that its endpoint could not read: a retry may succeed."""

NO_TOOLS = _any(
    r"requires? .{0,60}--(?:jinja|tool-call-parser|enable-auto-tool-choice)",
    r"--(?:tool-call-parser|enable-auto-tool-choice)\b.{0,60}(?:required|to be set)",
    r"(?:does not|doesn'?t|do not|don'?t|not|cannot|can'?t|no) (?:currently |yet )?(?:support|handle|accept|allow|supported)\b(?! with).{0,20}\b(?:tools?|functions?)\b(?![ _-]?choice)",
    r"\b(?:tools?|functions?|function[ _-]call(?:s|ing)?|tool[ _-](?:use|calls?|calling))\b['\"`]?(?: parameters?| fields?)? (?:(?:is|are|has|have) )?(?:currently |yet )?(?:not |un|in)(?:been )?(?:supported|available|enabled|allowed|permitted|compatible)",
    r"unsupported (?:parameter|argument|field|feature|value)s?:? ['\"`]?(?:tools|functions)\b(?![ _-]?choice)",
    r"(?:extra inputs? (?:is|are) not permitted|un(?:known|recogni[sz]ed|expected) (?:request |keyword )?(?:name|argument|field|parameter|key)s?)\b.{0,30}\btools\b(?![.\[])",
    r"no endpoints? found that supports? tool|\btools['\"`]?: extra inputs",
    r"不支持.{0,10}(?:工具|函数|function|tool)",
)
"""The model, or its server as it was started, has no tools at all."""

NOT_ONLY_TOOLS = _any(r"\bstream", r"parallel[ _](?:tool|function)")
"""The model has tools, but not together with an option."""

UNKNOWN_OPTION = _any(
    r"extra (?:inputs|fields) (?:are )?not permitted|extra_forbidden|(?:unsupported|unknown|unrecognized) (?:request )?(?:parameter|argument|field)",
)
"""An option of the request is refused, which may be the limit of tokens."""

TEMPLATE = _any(
    r"jinja|minja|chat[ _-]?template|template (?:error|render|parse|rais)",
    r"raise_exception",
    r"roles? must alternate|must alternate between|should alternate with",
    r"value is not callable|\bat row \d+, column \d+",
    r"(?:system|tool|assistant|user) role (?:is )?not supported",
    r"(?:failed|error|unable) .{0,30}(?:apply|render|format)\w* .{0,20}template",
    r"unexpected role|after role|system message must be|no user query found|cannot put tools in",
    r"(?:only|must) .{0,40}(?:user|assistant|system|tool) (?:and|or|messages?|roles?)\b.{0,60}(?:support|alternat|first|begin|start|follow)",
)
"""The model's chat template does not accept the messages as they are."""

CRASHED = _any(
    r"(?:model|runner|engine|worker|process|server)\b.{0,40}\b(?:crashed|terminated|stopped|died|is dead|has exited|killed|aborted)",
    r"engine ?dead|engine ?core|model (?:is |was |has been )?unloaded",
    r"\b(?:cuda|hip|metal|gpu|vulkan)\b.{0,40}\b(?:error|out of memory|fail)",
    r"requires more (?:system )?memory|degraded function|\boperation cancell?ed",
    r"out ?of ?memory|\boom\b|(?:failed|unable) to allocate|insufficient memory",
    r"segmentation fault|exit (?:code|status)|signal: ",
)

LOADING = _any(
    r"(?:loading|warming up|starting|initiali[sz]ing|scaling).{0,20}model",
    r"model\b.{0,60}\b(?:is )?(?:currently |still )?(?:loading|warming|starting|initiali[sz]ing)",
    r"model is being (?:loaded|deployed|downloaded|started)",
    r"not (?:yet )?ready|cold start",
)

UNKNOWN_MODEL = _any(
    r"model[ _-]?not[ _-]?(?:found|exist|available|supported|allowed)",
    r"(?:model|deployment|engine)s?\b.{0,80}\b(?:(?:does|do) not exist|(?:is |was |be )?not (?:found|exist|available|supported|loaded|recogni[sz]ed|a valid|allowed)|unknown|invalid|could not be found)",
    r"(?:unknown|invalid|no such|unsupported|unrecogni[sz]ed|non-?existent|not a valid) model\b",
    r"no models? (?:is |are )?(?:loaded|found|available)|try pulling it|not have access to (?:the |it|model)",
    r"model\b.{0,80}\b(?:decommissioned|retired|no longer (?:supported|available|served)|not enabled for|requires terms acceptance|blocked at the)",
    r"model id\b.{0,80}\bthroughput isn'?t supported|does not support (?:chat|embeddings|generate)\b(?! (?:template|with))|无权访问",
    r"deployment\w*[ _-]?not[ _-]?found",
    r"no (?:allowed providers|endpoints?) (?:are |is )?(?:found|available)(?! that)",
    r"模型(?:不存在|未找到)",
)

TEMPORARY = _any(r"temporar(?:y|ily)|overload(?:ed)?\b|high (?:demand|load|traffic)|at capacity")
"""A model that exists, but not at this moment."""

EXCESS = _any(
    r"exceed|too (?:long|large|many|big)|(?:longer|greater|larger|more) than|\bover\b|beyond",
    r"(?:must|should|needs? to|has to) (?:be|have) (?:less|fewer|at most|<|smaller|shorter|under|in|within)",
    r"(?:cannot|can't|could not|does not|do not|doesn't|don't|won't) (?:be (?:more|greater|larger)|fit)",
    r"no(?:t enough)? (?:space|room)|at most|range of",
    r"max(?:imum|[ _])|limit(?:ed)? (?:is|of|to|exceeded|reached)|limit:|reduce|shorten|truncat|overflow",
    r"reached context|with context length of only|tokens to keep|too small|must not",
    r"超出|超过|超长|超限|过长|太长|不能超过|最大",
)
"""Something exceeds a limit."""

TOO_LONG_CODES = _any(
    r"context[ _-]?length[ _-]?exceeded|exceeds model context|\b1039 token limit|splited_prompt_len|supports a context of up to",
    r"exceed_?context_?size",
    r"tokens_limit_reached",
    r"max_prompt_tokens_exceeded",
    r"string_above_max_length|request_too_large|content_length_exceeded",
    r"context_window_exceeded|prompt_too_long|input_too_long|max_message_tokens",
)

ABOUT_LENGTH = _any(
    r"context.{0,20}(?:length|window|size|limit)",
    r"prompt.{0,30}(?:too long|length|tokens|too large)",
    r"input.{0,30}(?:tokens?|length|too long|too large)",
    r"(?:token|sequence|seq|session).{0,8}(?:limit|len)",
    r"(?:too many|total|number of|requested|maximum|max|less than \d+|more than \d+|exceed\w*|\d+) .{0,30}tokens",
    r"tokens?.{0,40}(?:exceed|limit|maximum|too many|longer|greater)",
    r"(?:reduce|shorten).{0,30}(?:prompt|messages|input|context|length)",
    r"(?:message|request|prompt|text|question|conversation|history|body).{0,30}too (?:long|large|big)",
    r"too long for",
    r"max input (?:chars|characters|length)",
    r"length of (?:the |all )?(?:messages|prompt|input|conversation)|(?:messages?|prompt|text|conversation) length|\bn_ctx\b",
    r"(?:上下文|输入|内容|文本|prompt|tokens?).{0,12}(?:超出|超过|超长|过长|太长)|(?:超出|超过).{0,20}(?:上下文|长度|token)",
)
"""The text refers to the length of the prompt. With `EXCESS`: it is longer than the model's window."""

OUTPUT_LIMIT = _any(
    r"max_(?:completion_|new_|output_)?tokens\b['\"`]?.{0,40}(?:取值范围|参数非法|too large|(?:must|should|needs to|has to|can) (?:not |only )?(?:be|exceed)|exceeds?|at most|invalid|out of range|range|less than|greater than|not in|maximum)",
    r"(?:range of|invalid|maximum (?:allowed )?(?:value )?(?:of|for)|value for|the) ['\"`]?max_(?:completion_|new_|output_)?tokens\b",
    r"supports at most \d+ (?:completion|output) tokens|fewer max_tokens",
    r"(?:maximum|max) (?:number of )?(?:output|completion) tokens",
    r"maximum tokens you requested exceeds the model limit",
)
"""More tokens are requested for the answer than the model can write; a number next to it is the model's limit."""

OUT_OF_ROOM = _any(r"could not finish the message because max_tokens")
"""The model used up its tokens by reasoning before it had answered."""

INPUT_AND_OUTPUT = _any(
    r"(?:input|prompt|message|context).{0,60}(?:\+|and|plus).{0,20}(?:max_|output|completion|generat)",
    r"context (?:length|limit|window|size)",
)
"""Prompt and answer together are too long, which counts as a prompt that is too long."""

FEWER_TOKENS = _any(r"fewer max_tokens")
"""The account pays for an answer, but not for one of this length."""
