"""Fuzzing: what nobody would send on purpose, sent at random.

python -m tests.fuzz.loader --minutes 10
"""
