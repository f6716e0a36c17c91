"""Paired tests are of what the two were judged by: the tables' difference is the test's."""

import numpy as np
import pytest

from emsa_jax.evaluation.paired import Evaluated, conditions_of, paired
from emsa_jax.evaluation.predictions import summarize

RNG = np.random.default_rng(0)
SIGNS = {-1: "Negative", 0: "Neutral", 1: "Positive"}


def rows(scores, targets, eps):
    def polarity(value):
        return SIGNS[0 if abs(value) <= eps else int(np.sign(value))]

    return [
        {
            "id": str(i),
            "target": t,
            "target_polarity": polarity(t),
            "score": s,
            "polarity": None if s is None else polarity(s),
            "about": {},
        }
        for i, (s, t) in enumerate(zip(scores, targets, strict=True))
    ]


@pytest.mark.parametrize(
    "score_range, eps, fallback",
    [
        ((-3.0, 3.0), 0.0, "neutral"),
        ((-1.0, 1.0), 0.3, "neutral"),
        ((-3.0, 3.0), 0.7, "worst"),
        ((-3.0, 3.0), 0.0, "drop"),
    ],
)
def test_the_difference_is_that_of_the_tables(score_range, eps, fallback):
    targets = RNG.uniform(*score_range, 60).round(1).tolist()
    sides = []
    for spread in (0.3, 1.5):
        scores = [float(t + RNG.normal(0, spread)) if i % 7 else None for i, t in enumerate(targets)]
        scored = rows(scores, targets, eps)
        sides.append(
            (
                summarize(scored, score_range, fallback, eps, [])["metrics"],
                Evaluated(conditions_of(scored, score_range, eps, fallback), scored),
            )
        )
    (first, a), (second, b) = sides
    assert a.differences(b) == []
    found = paired(a, b, 40)
    for name in ("Polarity_acc", "MAE", "Corr"):
        assert found[name]["difference"] == pytest.approx(first[name] - second[name]), name


def test_classes_are_tested_as_classes():
    def side(named):
        return Evaluated(
            {"classes": 3},
            [
                {"id": str(i), "sentiment": s, "target_sentiment": "Positive", "target": 0.5, "score": None}
                for i, s in enumerate(named)
            ],
        )

    found = paired(side(["Positive"] * 20), side(["Positive"] * 10 + [None] * 10), 100)
    assert found["ACC"]["difference"] == 0.5 and found["ACC"]["p"] < 0.05 and "MAE" not in found


def test_what_was_not_judged_alike_is_told():
    scored = rows([0.5, -0.5], [0.4, -0.4], 0.0)
    one = Evaluated(conditions_of(scored, (-1.0, 1.0), 0.0, "neutral"), scored)
    same = Evaluated(conditions_of(scored[::-1], (-1.0, 1.0), 0.0, "neutral"), scored[::-1])
    assert one.differences(same) == []  # in whatever order
    for changed, said in (
        (conditions_of(scored, (-3.0, 3.0), 0.0, "neutral"), ["family"]),
        (conditions_of(scored, (-1.0, 1.0), 0.1, "worst"), ["neutral_eps", "fallback"]),
        (conditions_of(rows([0.5, -0.5], [0.4, -0.3], 0.0), (-1.0, 1.0), 0.0, "neutral"), ["clips"]),
    ):
        assert one.differences(Evaluated(changed, scored)) == said
    assert paired(one, Evaluated(one.conditions, [{"id": "0", "label": "x"}, {"id": "1", "label": "y"}]), 10) == {}
