"""Exports of other assistants: conversations become documents, memories become notes."""
