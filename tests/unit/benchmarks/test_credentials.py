from __future__ import annotations

import random
import statistics

from benchmarks.credentials import median_interval


def test_the_interval_has_the_median_19_times_out_of_20() -> None:
    chance = random.Random(1)
    samples = [[chance.expovariate(1) for _ in range(101)] for _ in range(400)]
    median = 0.6931  # ln 2
    held = sum(low <= median <= high for low, high in map(median_interval, samples))
    assert 0.93 <= held / len(samples) <= 0.99
    low, high = median_interval(samples[0])
    assert low <= statistics.median(samples[0]) <= high
