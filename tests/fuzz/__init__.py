"""Fuzzing of the Loader with random invalid input.

python -m tests.fuzz.loader --minutes 10
"""
