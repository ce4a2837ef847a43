"""Generated names for agents, such as ``PoliteButterfly``."""

from __future__ import annotations

import hashlib

_ADJECTIVES = """
Amber Bold Brave Bright Calm Cheerful Clever Curious Daring Eager Fearless Friendly Gentle Golden Happy Honest Humble
Jolly Keen Kind Lively Loyal Lucky Mellow Merry Nimble Noble Patient Playful Polite Proud Quick Quiet Radiant Serene
Silver Sincere Steady Sunny Swift Tender Thoughtful Tranquil Vivid Warm Wise Witty Zesty
"""
_ANIMALS = """
Albatross Badger Beaver Bison Butterfly Camel Cheetah Condor Crane Dolphin Dragonfly Eagle Falcon Finch Fox Gazelle
Gecko Hedgehog Heron Ibex Jaguar Kestrel Koala Lark Lemur Lynx Magpie Marmot Narwhal Octopus Otter Owl Panda Pelican
Penguin Puffin Raven Robin Salmon Seal Sparrow Squirrel Starling Swallow Tiger Tortoise Walrus Wombat
"""


def agent_name(seed: str, attempt: int = 0) -> str:
    """Return a name derived from ``seed``, the same for a repeated request; later attempts add a number."""
    adjectives, animals = _ADJECTIVES.split(), _ANIMALS.split()
    digest = hashlib.sha256(f"{seed}/{attempt}".encode()).digest()
    name = adjectives[digest[0] % len(adjectives)] + animals[digest[1] % len(animals)]
    return name if attempt == 0 else f"{name}{int.from_bytes(digest[2:4]) % 1000}"
