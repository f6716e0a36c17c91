"""Means, deviations and intervals over seeds, and their tables."""

import math
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from emsa_jax.report.result_table import Measured
from emsa_jax.report.seed_results import SeedRun, seed_results

DATA = "sims_1 (in domain)"


def run_of(seed, status="learned"):
    results = {DATA: {"clips": 9, "metrics": {"n": 8, "parse_rate": 1.0}}}
    return SeedRun(seed=seed, workdir=Path(f"w/{seed}"), policy="grpo", status=status, results=results)


def results_of(values, **statuses):
    """Of MAE for each seed, None where no answer was read."""
    runs = [run_of(seed, statuses.get(f"s{seed}", "learned")) for seed in values]
    numbers = [{DATA: [] if v is None else [Measured("MAE", v, [v - 0.1, v + 0.1])]} for v in values.values()]
    return seed_results(runs, numbers)


def test_statistics_are_those_of_scipy():
    values = {0: 0.5, 3: 0.7, 4: 0.9}
    found = results_of(values)
    one = found.metrics[DATA]["MAE"]
    assert one.mean == pytest.approx(0.7) and one.std == pytest.approx(np.std(list(values.values()), ddof=1))
    expected = scipy.stats.t.interval(0.95, 2, 0.7, one.std / math.sqrt(3))
    assert one.interval == pytest.approx(expected) and one.values == values and one.clips == 8
    assert found.seeds == (0, 3, 4) and found.workdirs[3] == Path("w/3")


def test_of_one_seed_it_is_the_interval_over_clips():
    one = results_of({7: 0.5}).metrics[DATA]["MAE"]
    assert (one.mean, one.std, one.interval) == (0.5, None, (0.4, 0.6))
    assert "bootstrap over clips" in results_of({7: 0.5}).to_markdown()


def test_a_seed_without_a_number_is_counted_out():
    found = results_of({0: 0.5, 1: None}, s1="collapsed")
    one = found.metrics[DATA]["MAE"]
    assert one.values == {0: 0.5} and one.std is None and one.interval is None  # that of one seed is none over seeds
    assert "| 1 of 2 |" in found.to_markdown() and "seed 1: collapsed." in found.to_markdown()
    assert found.table()[0]["seed 1"] is None and found.table()[0]["seeds"] == 1


def test_tables():
    found = results_of({0: 0.5, 1: 0.7})
    lines = found.to_markdown().splitlines()
    assert lines[2].startswith(f"| {DATA} | MAE | 0.600 | ± 0.141 |") and str(found) == found.to_markdown()
    text = found.to_latex("Of 50%")
    assert r"\caption{Of 50\% Policy: grpo." in text and r"sims\_1 (in domain) & MAE & 0.600 & 0.141" in text
    (row,) = found.table()
    assert row["seed 0"] == 0.5 and (row["low"], row["high"]) == found.statistics[0].interval


def test_results_do_not_change():
    found = results_of({0: 0.5})
    with pytest.raises(FrozenInstanceError):
        found.runs = ()
    with pytest.raises(FrozenInstanceError):
        found.statistics[0].mean = 1.0
