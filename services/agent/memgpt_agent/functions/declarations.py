"""The eight functions of an agent, as the model is told of them."""

from __future__ import annotations

from memgpt_agent.functions.schema import Function, Parameter

PAGE_SIZE = 5
"""Results on a page of a search; pages count from 0."""

MAX_PAUSE_MINUTES = 360

_PAGE = Parameter(
    "page",
    "integer",
    "Which page of the results to show, from 0. The result says which page is the last.",
    default=0,
    minimum=0,
)

_BLOCK = Parameter("name", "string", "The block: human for facts about the user, persona for yourself, or another.")

SEND_MESSAGE = Function(
    "send_message",
    "Says something to the user. This is the only way to reach them: nothing else that you write is shown as a reply.",
    (Parameter("message", "string", "What to say, in the language of the user. Any Unicode text."),),
    chains=False,
)

PAUSE_HEARTBEATS = Function(
    "pause_heartbeats",
    "Keeps timed heartbeats away for a while. Messages of the user still come through.",
    (
        Parameter(
            "minutes",
            "integer",
            f"For how many minutes, at most {MAX_PAUSE_MINUTES} (six hours).",
            minimum=0,
            maximum=MAX_PAUSE_MINUTES,
        ),
    ),
    chains=False,
)

CORE_MEMORY_APPEND = Function(
    "core_memory_append",
    "Adds a line to a block of your core memory, which you always see.",
    (
        _BLOCK,
        Parameter("content", "string", "The line to add."),
    ),
)

CORE_MEMORY_REPLACE = Function(
    "core_memory_replace",
    "Changes text in a block of your core memory. To delete text, replace it by an empty string.",
    (
        _BLOCK,
        Parameter("old_content", "string", "The text to change, exactly as it stands in the block."),
        Parameter("new_content", "string", "What to put in its place.", may_be_empty=True),
    ),
)

CONVERSATION_SEARCH = Function(
    "conversation_search",
    "Searches what you and the user said to each other, also what has left your context, for messages with these words."
    " Documents are not there: archival_memory_search finds them.",
    (Parameter("query", "string", "The words to look for."), _PAGE),
    heartbeat_default=True,
    searches=True,
)

CONVERSATION_SEARCH_DATE = Function(
    "conversation_search_date",
    "Lists the messages of your conversation between two days, both of them included.",
    (
        Parameter("start_date", "string", "The first day, as YYYY-MM-DD.", is_date=True),
        Parameter("end_date", "string", "The last day, as YYYY-MM-DD.", is_date=True),
        _PAGE,
    ),
    heartbeat_default=True,
    searches=True,
)

ARCHIVAL_MEMORY_INSERT = Function(
    "archival_memory_insert",
    "Stores a note in archival memory, which has no limit and is searched by meaning. Make it understandable alone.",
    (Parameter("content", "string", "The note."),),
)

ARCHIVAL_MEMORY_SEARCH = Function(
    "archival_memory_search",
    "Searches archival memory by meaning: your own notes and the documents attached to you. Each result says when it"
    " was stored and, for a document, its file and page. If a page does not hold the answer, ask for the next page.",
    (Parameter("query", "string", "What to look for, in words likely to stand near it."), _PAGE),
    heartbeat_default=True,
    searches=True,
)

BUILT_IN: tuple[Function, ...] = (
    SEND_MESSAGE,
    PAUSE_HEARTBEATS,
    CORE_MEMORY_APPEND,
    CORE_MEMORY_REPLACE,
    CONVERSATION_SEARCH,
    CONVERSATION_SEARCH_DATE,
    ARCHIVAL_MEMORY_INSERT,
    ARCHIVAL_MEMORY_SEARCH,
)
"""What every agent has. ``toolbox.functions_of`` says what a certain one has."""

BUILT_IN_BY_NAME = {function.name: function for function in BUILT_IN}
