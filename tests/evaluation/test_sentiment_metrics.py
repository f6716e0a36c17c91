"""Metrics: equal to results of the field's own code (MMSA, ch-sims-v2), and defined where that code is not.

fixtures/metrics.{npz,json}: predictions, true scores, and what that code made of them (MMSA: 4 decimals).
"""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import f1_score, recall_score

from emsa_jax.errors import InputError
from emsa_jax.evaluation.classification import label_metrics, label_row
from emsa_jax.evaluation.sentiment_metrics import FALLBACKS, family_of, paper_row, regression_metrics, score_row

FIXTURES = Path(__file__).parents[1] / "fixtures"
ARRAYS = dict(np.load(FIXTURES / "metrics.npz"))
EXPECTED = json.loads((FIXTURES / "metrics.json").read_text())


@pytest.mark.parametrize("case", EXPECTED["regression"])
def test_regression_equals_the_reference(case):
    pred, true = ARRAYS[f"reg/{case}/pred"], ARRAYS[f"reg/{case}/true"]
    ours = regression_metrics(pred.tolist(), true.tolist(), case.split("/")[0])
    for source, tolerance in (("mmsa", 5e-5 + 1e-9), ("simsv2", 1e-6)):
        for key, value in EXPECTED["regression"][case].get(source, {}).items():
            if key == "raises":  # no true score is different from zero
                assert ours["Non0_acc_2"] is ours["Non0_F1_score"] is None
            elif key == "R_squre" and np.ptp(true) == 0:
                assert ours["R2"] is None
            elif value is None:
                assert ours[key] is None and not ours["corr_defined"]
            else:
                ours_value = ours["R2" if key == "R_squre" else key]
                assert ours_value == pytest.approx(value, abs=tolerance, rel=1e-6), (source, key)


@pytest.mark.parametrize("case", EXPECTED["labels"])
def test_classification_equals_the_reference(case):
    ours = label_metrics(ARRAYS[f"lab/{case}/pred"], ARRAYS[f"lab/{case}/true"], int(case[0]))
    for key, value in EXPECTED["labels"][case].items():
        assert ours[key] == pytest.approx(value, abs=1e-9), key


def test_the_edges_of_the_classes():
    grid = [-1.0, -0.7, -0.6, -0.1, 0.0, 0.1, 0.2, 0.7, 0.8]
    five = [-0.9, -0.8, -0.2, -0.11, 0.05, 0.1, 0.11, 0.69, 1.0]
    metrics = regression_metrics(five, grid, "sims")
    assert metrics["Mult_acc_5"] == metrics["Mult_acc_3"] == 1
    assert regression_metrics([0.71], [0.7], "sims")["Mult_acc_5"] == 0
    assert regression_metrics([0.5, 2.5, -1.5], [0.0, 2.0, -2.0], "mosi")["Mult_acc_7"] == 1


def test_zero_in_each_convention():
    metrics = regression_metrics([0.0, 0.0, 0.5], [0.2, 0.0, -0.0], "sims")
    assert metrics["Has0_acc_2"] == 1  # 0 is positive
    assert metrics["Mult_acc_2"] == pytest.approx(1 / 3)  # 0 is negative
    assert metrics["Non0_acc_2"] == 0  # a predicted 0 is negative, true zeros are left out
    weak = regression_metrics([0.1, 0.1, 0.1], [0.4, -0.4, 0.41], "sims")
    assert weak["Mult_acc_2_weak"] == 0.5
    assert regression_metrics([0.1], [0.9], "sims")["Mult_acc_2_weak"] is None
    assert regression_metrics([0.1], [0.1], "mosi")["Mult_acc_2_weak"] is None


def test_only_sims_scores_are_clipped():
    assert regression_metrics([3.0], [1.0], "sims")["MAE"] == 0
    assert regression_metrics([5.0], [3.0], "mosi")["MAE"] == 2


def test_unread_answers_are_always_counted():
    pred, true = [None, 0.5, None, None], [1.0, 0.5, -1.0, 0.0]
    neutral = regression_metrics(pred, true, "sims", fallback="neutral")
    assert (neutral["n"], neutral["parse_rate"], neutral["fallback"]) == (4, 0.25, "neutral")
    assert neutral["MAE"] == 0.5
    assert neutral["Polarity_acc"] == 0.25  # unread is no polarity, not even the neutral one
    worst = regression_metrics(pred, true, "sims")
    assert (worst["fallback"], worst["family"]) == ("worst", "sims")
    assert (worst["MAE"], worst["Mult_acc_2"], worst["parse_rate"]) == (1.25, 0.25, 0.25)
    assert regression_metrics(pred, true, "mosi", fallback="worst")["Has0_acc_2"] == 0.25
    drop = regression_metrics(pred, true, "sims", fallback="drop")
    assert (drop["n"], drop["parse_rate"], drop["MAE"], drop["Polarity_acc"]) == (4, 0.25, 0, 1)


@pytest.mark.parametrize("fallback", FALLBACKS)
def test_a_policy_that_cannot_be_read_is_not_flattered(fallback):
    """Of 32 clips, 22 are negative: a score of 0 for each, which nobody gave, would be right on these 22."""
    true = [-0.6] * 22 + [0.8] * 10
    nothing = regression_metrics([None] * 32, true, "sims", fallback=fallback)
    assert (nothing["corr_n"], nothing["parse_rate"], nothing["Corr"]) == (0, 0, None)
    assert nothing["Mult_acc_2"] == {"worst": 0, "neutral": 22 / 32, "drop": None}[fallback]
    assert score_row([None] * 32, true, "sims")["acc2"] == 0  # as the command prints it, too


@pytest.mark.parametrize("fallback", FALLBACKS)
@pytest.mark.parametrize("family", ["mosi", "sims"])
def test_the_correlation_is_of_what_was_read(fallback, family):
    pred, true = [0.5, None, -0.3, 0.9, None, 0.1], [0.4, -1.0, -0.6, 0.7, 0.8, -0.2]
    found = regression_metrics(pred, true, family, fallback=fallback)
    read = [i for i, score in enumerate(pred) if score is not None]
    expected = scipy.stats.pearsonr([pred[i] for i in read], [true[i] for i in read]).statistic
    assert found["Corr"] == pytest.approx(expected, abs=1e-6) and found["corr_n"] == 4
    only_one = regression_metrics([0.5, None], [0.5, -0.5], family, fallback=fallback)
    assert only_one["Corr"] is None and not only_one["corr_defined"] and only_one["corr_n"] == 1


def test_nothing_to_score_is_undefined_and_not_a_crash():
    for metrics in (regression_metrics([], [], "mosi"), regression_metrics([None], [0.5], "sims", fallback="drop")):
        assert metrics["n"] in (0, 1)
        assert all(metrics[key] is None for key in ("Has0_acc_2", "F1_score", "Mult_acc_3", "MAE", "Corr", "R2"))
        assert metrics["Polarity_acc"] is None
    json.dumps(regression_metrics([0.1], [0.1], "sims"), allow_nan=False)


def test_polarity_is_what_the_answer_named():
    pred, true = [0.5, -0.5, 0.05, 0.5], [0.5, -0.5, 0.0, 0.5]
    assert regression_metrics(pred, true, "sims")["Polarity_acc"] == 0.75
    assert regression_metrics(pred, true, "sims", neutral_eps=0.1)["Polarity_acc"] == 1
    named = regression_metrics(pred, true, "sims", polarities=["Positive", "Positive", "Neutral", None])
    assert named["Polarity_acc"] == 0.5
    assert named["Polarity_UAR"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert named["Polarity_F1_weighted"] == pytest.approx((2 * 0.5 + 1 * 1) / 4)


def test_the_averages_of_f1():
    pred, true = [1, 1, 1, -1], [1, 1, -1, 1]  # F1 of negative 0, of positive 2/3
    f1 = {
        kind: regression_metrics(pred, true, "sims", f1_average=kind)["F1_score"]
        for kind in ("weighted", "macro", "weighted_pred")
    }
    assert f1 == pytest.approx({"weighted": 0.5, "macro": 1 / 3, "weighted_pred": 0.5})
    metrics = regression_metrics([1, 1, 1, 1], true, "sims")
    assert metrics["F1_macro"] == pytest.approx(3 / 7)
    swapped = regression_metrics([1, 1, 1, 1], true, "sims", f1_average="weighted_pred")
    assert swapped["F1_score"] == pytest.approx(6 / 7)


def test_the_columns_of_the_papers_are_metrics():
    assert list(paper_row("mosi")) == ["Acc7", "Acc2", "F1", "MAE", "Corr"]
    assert list(paper_row("sims")) == ["Acc5", "Acc3", "Acc2", "F1", "MAE", "Corr"]
    for family in ("mosi", "sims"):
        metrics = regression_metrics([0.1, -0.4, 0.6], [0.2, -0.4, 0.5], family)
        assert all(metrics[key] is not None for key in paper_row(family).values())
    assert (family_of((-3, 3)), family_of([-1.0, 1.0])) == ("mosi", "sims")


def test_bad_input_is_named():
    for call, message in (
        (lambda: regression_metrics([1], [1], "meld"), "family 'meld'"),
        (lambda: regression_metrics([1], [1], "sims", fallback="ignore"), "fallback 'ignore'"),
        (lambda: regression_metrics([1], [1, 2], "sims"), "1 predictions and 2 true scores"),
        (lambda: regression_metrics([0.0, float("nan")], [1, 2], "sims"), "prediction 1 is not finite"),
        (lambda: regression_metrics([0.0], [float("inf")], "sims"), "true score 0 is not finite"),
        (lambda: family_of((0, 1)), "score_range"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_classes_that_are_absent_are_left_out_of_means():
    """As scikit-learn has it: of five classes, the two that occur in truth or answers."""
    pred, true = [0, 0, 2], [0, 0, 0]
    found = label_row(pred, true, 5)
    assert found["UAR"] == pytest.approx(recall_score(true, pred, average="macro", zero_division=0)) == 1 / 3
    assert found["F1"] == pytest.approx(f1_score(true, pred, average="macro")) == pytest.approx(0.4)
