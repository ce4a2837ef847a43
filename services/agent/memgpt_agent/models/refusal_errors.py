"""Errors for people about an endpoint's refusals, with what to do about them."""

from __future__ import annotations

from memgpt.endpoints.refusals import Meaning, Refusal
from memgpt_runtime import reasons

from memgpt_agent.models.answer.answer import MalformedError
from memgpt_agent.models.base import NO_STATUS, BadAnswerError, FilteredError

_DEFAULT_RETRY_AFTER = 5.0

_ELSEWHERE = frozenset(
    {Meaning.REFUSED, Meaning.TEMPLATE, Meaning.NO_TOOLS, Meaning.GENERATION_FAILED, Meaning.UNKNOWN_MODEL,
     Meaning.OUTPUT_LIMIT}
)  # fmt: skip

_REMEDIES = {
    Meaning.BAD_KEY: "refuses the key; set agent.api_key (MEMGPT_AGENT_API_KEY)",
    Meaning.FORBIDDEN: "refuses the key, or does not allow this; check agent.api_key (MEMGPT_AGENT_API_KEY)",
    Meaning.COUNTRY: "does not serve this country; use another endpoint (agent.base_url)",
    Meaning.UNKNOWN_MODEL: 'does not serve the model "{model}"; check agent.model and agent.base_url (which usually'
    " ends in /v1)",
    Meaning.NO_TOOLS: 'says that the model "{model}" takes no tools; set agent.mode to json_schema or auto',
    Meaning.TEMPLATE: 'cannot render the conversation for the model "{model}"; try another agent.mode (auto, tools or'
    " json_schema) or another model",
    Meaning.REDIRECTED: "redirects elsewhere; set agent.base_url to the address that it names",
    Meaning.NOT_AN_ENDPOINT: "is not a model's endpoint, it returned no answer; check agent.base_url",
    Meaning.OUTPUT_LIMIT: "does not write answers this long; lower agent.max_answer_tokens",
}
_REFUSED = "refuses the request (HTTP {status}); check agent.model, and try another agent.mode (tools or json_schema)"

_PASSING = {
    Meaning.RATE_LIMITED: "has had too many requests",
    Meaning.CRASHED: "says that the model crashed",
    Meaning.LOADING: "is still loading the model",
    Meaning.BROKEN_OFF: "closed the connection",
    Meaning.GENERATION_FAILED: "could not read what the model wrote",
}


def asked_again(refusal: Refusal, pause: float) -> str:
    """Return the sentence for people about a failure after which the endpoint is asked again in `pause` seconds."""
    unavailable = "is out of order" if refusal.status else "cannot be reached"
    return f"The model's endpoint {_PASSING.get(refusal.meaning, unavailable)}; it is asked again in {pause:.1f} s."


def may_work_elsewhere(refusal: Refusal) -> bool:
    """Whether the same request may be answered in the other mode."""
    return refusal.meaning in _ELSEWHERE


def error_for(refusal: Refusal, where: str, model: str) -> Exception:
    """Return the error for a refusal.

    Args:
        refusal: The refusal; not of a prompt that is too long.
        where: The endpoint's address, for people.
        model: The model's name.
    """
    said = f": {refusal.quote}" if refusal.quote else ""
    endpoint = f"the model's endpoint {where}"
    match refusal.meaning:
        case Meaning.RATE_LIMITED:
            after = _DEFAULT_RETRY_AFTER if refusal.retry_after is None else refusal.retry_after
            return reasons.model_rate_limited(
                f"{endpoint} has had too many requests; retry in {after:.0f} s{said}",
                model=model,
                retry_after=after,
            )
        case Meaning.OUT_OF_BALANCE:
            return reasons.model_rate_limited(
                f"the account at {endpoint} has no balance or quota left; top it up{said}",
                model=model,
                retry_after=_DEFAULT_RETRY_AFTER if refusal.retry_after is None else refusal.retry_after,
                account="spent",
            )
        case Meaning.FILTERED:
            return FilteredError(
                f"the content filter of {endpoint} rejected the prompt; use other words, or /undo if it still"
                f" does{said}"
            )
        case Meaning.GENERATION_FAILED:
            return BadAnswerError(
                f'{endpoint} could not read what the model "{model}" wrote; retry, or choose another model or another'
                f" agent.mode (tools or json_schema){said}"
            )
        case Meaning.CRASHED:
            return reasons.model_unavailable(
                f'the model "{model}" crashed at {endpoint}; see the log of its server{said}',
                model=model,
                status=refusal.status,
            )
        case Meaning.LOADING:
            return reasons.model_unavailable(
                f'{endpoint} is still loading the model "{model}"; retry later{said}', model=model
            )
        case Meaning.BROKEN_OFF:
            return reasons.model_unavailable(
                f"{endpoint} closed the connection before it had answered; retry, and check agent.base_url and its"
                f" log{said}",
                model=model,
                status=NO_STATUS,
            )
        case Meaning.UNAVAILABLE if refusal.status:
            return reasons.model_unavailable(
                f"{endpoint} is out of order (HTTP {refusal.status}); retry later, and check agent.base_url{said}",
                model=model,
                status=refusal.status,
            )
        case Meaning.UNAVAILABLE:
            return reasons.model_unavailable(
                f"{endpoint} cannot be reached; check that it runs, and agent.base_url{said}", model=model
            )
    remedy = _REMEDIES.get(refusal.meaning, _REFUSED).format(model=model, status=refusal.status)
    details = {"status": refusal.status} if refusal.status else {}
    return reasons.model_unusable(f"{endpoint} {remedy}{said}", model=model, **details)


def malformed(model: str, problem: MalformedError) -> str:
    """Return the message about a model whose second answer was not a call either."""
    if problem.at_fault:
        return (
            f'the model "{model}" answered twice with something other than a function call ({problem}); try again, or'
            " choose another model or another agent.mode (tools or json_schema)"
        )
    return (
        f'the model "{model}" was asked twice and did not finish its answer ({problem}); use other words, or'
        " raise agent.max_answer_tokens and agent.context_window"
    )


def no_text(model: str) -> str:
    """Return the message about a model that wrote no summary."""
    return (
        f'the model "{model}" wrote no text when asked for a summary; raise agent.max_answer_tokens, or choose another'
        " model"
    )


def refused_text(model: str) -> str:
    """Return the message about a summary that the model, or a filter of its answers, refuses."""
    return f'the model "{model}", or the filter of its endpoint, refuses to summarize these messages'
