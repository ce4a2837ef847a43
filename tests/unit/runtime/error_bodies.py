"""Bodies of errors that several tests use."""

from __future__ import annotations


def error(message: str, code: str | int | None = None, kind: str | None = None) -> dict[str, object]:
    """The body that OpenAI and most others send."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


GEMINI_QUOTA: object = [
    {
        "error": {
            "code": 429,
            "message": "You exceeded your current quota, please check your plan and billing details.",
            "status": "RESOURCE_EXHAUSTED",
            "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}],
        }
    }
]
"""Gemini's quota per minute, which says when to retry."""
