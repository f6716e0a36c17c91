"""Tables of arms: means, spreads and paired differences, as NumPy and SciPy have them."""

import csv
import io

import numpy as np
import pytest
from scipy import stats

from emsa_jax.report.arm_table import Row, as_csv, as_latex, as_markdown, differences_csv, marked

OFF, HINT = [0.50, 0.60, 0.55], [0.58, 0.63, 0.61, 0.70]
ROWS = [
    Row("off", "no hint", {s: {"accuracy": a, "mae": 1 - a, "prefix_logp": None} for s, a in enumerate(OFF)}, 8),
    Row("hint", "hint & more", {s: {"accuracy": a, "mae": 1 - a, "prefix_logp": -a} for s, a in enumerate(HINT)}, 8),
    Row("none", "not begun", {}, 3),
]


def test_what_went_wrong_in_some_seeds_stands_beside_the_arm():
    assert marked("hint", ["learned", ""]) == "hint"
    statuses = ["learned", "nothing_learned", "collapsed", "nothing_learned"]
    assert marked("hint", statuses) == "hint (nothing learned in 2 of 4 seeds, collapsed in 1 of 4 seeds)"


def test_csv():
    rows = {(row["arm"], row["metric"]): row for row in csv.DictReader(io.StringIO(as_csv(ROWS)))}
    row = rows["hint", "accuracy"]
    assert float(row["mean"]) == pytest.approx(np.mean(HINT)) and int(row["seeds"]) == 4
    low, high = stats.t.interval(0.95, 3, np.mean(HINT), stats.sem(HINT))
    assert [float(row[k]) for k in ("std", "low", "high")] == pytest.approx([np.std(HINT, ddof=1), low, high], abs=1e-5)
    assert rows["none", "accuracy"]["mean"] == "" and rows["none", "accuracy"]["seeds"] == "0"


def test_differences_are_paired_by_seed():
    (row,) = [
        row
        for row in csv.DictReader(io.StringIO(differences_csv(ROWS, "off")))
        if (row["arm"], row["metric"]) == ("hint", "accuracy")
    ]
    found = stats.ttest_rel(HINT[:3], OFF)
    assert float(row["p"]) == pytest.approx(found.pvalue, rel=1e-4) and int(row["seeds"]) == 3
    assert float(row["difference"]) == pytest.approx(np.mean(np.subtract(HINT[:3], OFF)))
    assert int(row["seeds_needed"]) >= 2
    assert "none" not in differences_csv(ROWS, "off")


def test_markdown_says_what_is_missing():
    text = as_markdown(ROWS, "off")
    assert "| hint & more | 4 of 8 | 63.0 ± 5.1 | -0.63 ± 0.05 | 0.370 ± 0.051 |" in text
    assert "| no hint | 3 of 8 | 55.0 ± 5.0 | - |" in text and "| not begun | 0 of 3 | - | - | - |" in text
    assert "| hint & more | polarity acc (%) | +5.7 |" in text and 'Differences to "no hint"' in text
    assert "Differences" not in as_markdown(ROWS[:1], "off")
    sure = Row("sure", "sure", {s: {"accuracy": a + 0.2 + 0.001 * s} for s, a in enumerate(OFF)}, 3)
    assert " | < 0.001 | 3 |" in as_markdown([ROWS[0], sure], "off")


def test_latex():
    text = as_latex(ROWS, "50% & more")
    assert r"\caption{50\% \& more}" in text and r"hint \& more" in text and text.count(r"\\") == 4
    assert r"hint \& more & 4 &" in text and r"\$x\_y\$" in as_latex(ROWS, "$x_y$")
    assert r"\textbf{63.0\,{\scriptsize$\pm$5.1}}" in text and r"\textbf{0.370" in text  # the least error is the best
    assert text.count("{") == text.count("}")


def test_bold_is_the_best_over_the_seeds_that_all_have():
    """An arm with an easier fourth seed is not the better one; of errors, in either domain, the least is."""
    few = Row("few", "few", {s: {"accuracy": a, "mae_cross": 1 - a} for s, a in enumerate([0.6, 0.7])}, 2)
    many = Row("many", "many", {s: {"accuracy": a, "mae_cross": 1 - a} for s, a in enumerate([0.5, 0.6, 0.9, 0.9])}, 4)
    lines = as_latex([few, many, ROWS[2]], "t").splitlines()
    (bold,) = [line for line in lines if "textbf" in line]
    assert bold.startswith("few & 2") and bold.count("textbf") == 2
    apart = [Row("a", "a", {0: {"accuracy": 0.5}}, 1), Row("b", "b", {1: {"accuracy": 0.6}}, 1)]
    assert "textbf" not in as_latex(apart, "t")
