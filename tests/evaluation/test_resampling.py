"""Intervals and tests, as SciPy has them."""

import numpy as np
import pytest
from scipy import stats

from emsa_jax.evaluation.classification import label_row
from emsa_jax.evaluation.controls import label_controls, score_controls
from emsa_jax.evaluation.resampling import compare, intervals, over_seeds, paired_seeds, seeds_needed
from emsa_jax.evaluation.sentiment_metrics import score_row

RNG = np.random.default_rng(0)
TRUE = RNG.uniform(-1, 1, 200).round(1).astype(np.float32)
GOOD, WEAK = (np.clip(TRUE + RNG.normal(0, spread, 200), -1, 1).astype(np.float32) for spread in (0.3, 0.9))


def sims(pred, true):
    return score_row(list(pred), true, "sims")


def test_intervals_are_scipys():
    ours = intervals(lambda rows: sims(GOOD[rows], TRUE[rows]), 200, 2000)
    for name, values in (("mae", np.abs(GOOD - TRUE)), ("acc2", ((GOOD > 0) == (TRUE > 0)).astype(float))):
        theirs = stats.bootstrap((values,), np.mean, n_resamples=2000, method="percentile", rng=1).confidence_interval
        assert ours[name] == pytest.approx(tuple(theirs), abs=0.01)
    assert "acc7" not in ours and "n" not in ours and ours["corr"][0] < sims(GOOD, TRUE)["corr"] < ours["corr"][1]
    assert intervals(lambda rows: sims(GOOD[rows], TRUE[rows]), 0) == {}


def test_a_metric_that_few_resamples_define_has_no_interval():
    true = np.array([0.5] + [0.0] * 9, np.float32)
    assert intervals(lambda rows: score_row([0.1] * 10, true[rows], "mosi"), 10, 200)["non0_acc2"] is None


def test_two_runs_on_the_same_clips():
    found = compare(sims, GOOD.tolist(), WEAK.tolist(), TRUE, 500)
    difference = sims(GOOD, TRUE)["mae"] - sims(WEAK, TRUE)["mae"]
    assert found["mae"]["difference"] == difference < 0 and found["mae"]["p"] == pytest.approx(1 / 501)
    low, high = found["mae"]["interval"]
    assert low < difference < high < 0
    errors = [np.abs(pred - TRUE) for pred in (GOOD, WEAK)]
    theirs = stats.permutation_test(
        errors, lambda a, b: np.mean(a) - np.mean(b), permutation_type="samples", n_resamples=500, rng=0
    )
    assert found["mae"]["p"] == pytest.approx(theirs.pvalue, abs=0.01)
    near = np.clip(GOOD + np.where(np.arange(200) < 12, 0.4, 0), -1, 1)
    same = compare(sims, GOOD.tolist(), near.tolist(), TRUE, 500)["acc2"]
    assert same["p"] > 0.05 and same["interval"][0] <= 0 <= same["interval"][1]


def test_over_seeds():
    found = over_seeds([0.5, 0.6, 0.7, None])
    assert (found["mean"], found["std"], found["n"]) == pytest.approx((0.6, 0.1, 3))
    assert found["interval"] == pytest.approx(stats.t.interval(0.95, 2, 0.6, stats.sem([0.5, 0.6, 0.7])))
    assert over_seeds([0.5])["interval"] is None and over_seeds([])["mean"] is None
    paired = paired_seeds([0.5, 0.7, 0.6], [0.4, 0.5, 0.55])
    assert paired["p"] == pytest.approx(stats.ttest_rel([0.5, 0.7, 0.6], [0.4, 0.5, 0.55]).pvalue)
    assert paired_seeds([0.5, 0.5], [0.4, 0.4])["p"] is None


def test_the_seeds_that_are_needed_are_enough():
    """By simulation: that many pairs find a difference of 1 with a spread of 1.2 in about four of five tries."""
    n = seeds_needed(1.0, 1.2)
    drawn = np.random.default_rng(0).normal(1.0, 1.2, (4000, n))
    assert 0.78 < (stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05).mean() < 0.86
    assert (stats.ttest_1samp(drawn[:, :-2], 0, axis=1).pvalue < 0.05).mean() < 0.78
    assert seeds_needed(0.0, 1.0) is None and seeds_needed(1e-6, 1.0) is None and seeds_needed(10, 0.1) == 2


def test_controls_land_where_they_must():
    """A constant has no correlation, chance is the product of shares, and shuffled labels undo a perfect answer."""
    true = np.repeat(np.array([-1, -0.6, 0.5], np.float32), 200)
    found = score_controls(true.tolist(), true, sims, prior=[0.2, 0.4])
    assert found["constant"]["corr"] is None and found["constant"]["acc2"] == pytest.approx(1 / 3)
    assert found["constant"]["mae"] == pytest.approx(np.abs(true - 0.3).mean())
    assert found["random"]["acc2"] == pytest.approx(1 / 3) and abs(found["shuffled"]["corr"]) < 0.05
    assert found["shuffled"]["acc2"] == pytest.approx(5 / 9, abs=0.02)
    assert score_controls(true.tolist(), true, sims)["random"]["acc2"] == pytest.approx(5 / 9, abs=0.02)
    classes = np.repeat([0, 1, 2], [100, 200, 300])
    rows = label_controls(classes.tolist(), classes, lambda p, t: label_row(p, t, 3))
    assert rows["constant"]["ACC"] == 0.5 and rows["constant"]["UAR"] == pytest.approx(1 / 3)
    for name in ("random", "shuffled"):
        assert rows[name]["ACC"] == pytest.approx(1 / 36 + 4 / 36 + 9 / 36, abs=0.02)
        assert rows[name]["UAR"] == pytest.approx(1 / 3, abs=0.02)
    nothing = score_controls([], np.zeros(0, np.float32), sims)
    assert nothing["shuffled"]["mae"] is None and nothing.keys() == {"shuffled"}


def test_a_metric_that_a_draw_leaves_undefined_has_no_test():
    """Three clips: many a draw has no spread, and so no correlation; of accuracy all is known."""
    true = np.array([1, -1, 0.5], np.float32)
    found = compare(sims, [0.5, -0.5, 0.1], [0.4, 0.5, 0.3], true, 200)
    assert found["corr"] is None and found["acc2"]["difference"] == pytest.approx(1 / 3) and 0 < found["acc2"]["p"] <= 1
    zeros = np.array([0.0] * 28 + [0.5, -0.5], np.float32)
    found = compare(lambda p, t: score_row(p, t, "mosi"), [0.5] * 30, [-0.5] * 30, zeros, 50)
    assert found["non0_acc2"] is None and found["has0_acc2"]["difference"] > 0.9


def test_differences_that_are_equal_but_for_rounding_are_no_evidence():
    found = paired_seeds([0.3, 0.4, 0.5], [0.2, 0.3, 0.4])
    assert found["p"] is None and found["needed"] is None and found["mean"] == pytest.approx(0.1)
