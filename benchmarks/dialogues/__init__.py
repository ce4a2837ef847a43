"""Scripted dialogues with a real model, judged by their effects: ``python -m benchmarks dialogues``.

The dialogues in ``benchmarks/data/dialogues`` are split: prompts are tuned on ``tune``, and ``final`` is run for final
figures only. No model judges another one: every check looks at what happened. A block holds the fact, the answer has
the words, a search came before it, the page is the right one.

The same dialogues are held with the bare model, which gets the whole conversation in its prompt, and the paper if its
window has room for it.
"""
