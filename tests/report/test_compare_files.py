"""A comparison as files: the numbers of its page, for people, for programs and for papers."""

import csv
import io

import pytest

from emsa_jax.report.compare_files import compare_files
from emsa_jax.report.result_table import result_table
from emsa_jax.report.run_content import Content, Result

METRICS = {"family": "sims", "fallback": "worst", "n": 8, "parse_rate": 1.0, "Polarity_acc": 0.75, "MAE": 1 / 3}
INTERVALS = {"Polarity_acc": [0.5, 1.0], "MAE": [0.25, 0.5]}
TEST = {"MAE": {"difference": -0.1, "interval": [-0.2, 0.05], "p": 0.25}, "R2": None}
LABELS = {name: 0.5 for name in ("ACC", "WF1", "WP", "F1", "R", "P", "parse_rate")}


@pytest.fixture
def files():
    found = {"clips": 8, "metrics": METRICS, "intervals": INTERVALS}
    worse = found | {"metrics": METRICS | {"Polarity_acc": 0.5}}
    return compare_files(
        Content(
            title="Runs compared: off, 50%|hint",
            lead="",
            rows={},
            results=[
                Result("off, after RL", "sims_50%", found),
                Result("hint, after RL", "sims_50%", worse),
                Result("off, after RL", "moods", {"clips": 4, "labels": LABELS, "intervals": {"ACC": [0.25, 0.75]}}),
            ],
            paired=[("off - hint, sims_50%: 8 clips", TEST)],
            notes=["A note | with a bar."],
        ),
        "compare",
    )


def test_three_files(files):
    assert sorted(files) == ["compare.csv", "compare.md", "compare.tex"]


def test_markdown_has_tables_whose_lines_are_equally_long(files):
    text = files["compare.md"].decode()
    assert r"# Runs compared: off, 50%\|hint" in text and r"A note \| with a bar." in text
    assert "0.750 [0.500, 1.000]" in text and "| MAE | -0.100 | -0.200 to +0.050 | 0.250 |" in text
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 3
    for lines in tables:
        assert len({line.replace(r"\|", "").count("|") for line in lines}) == 1


def test_csv_has_every_number_to_the_last_digit(files):
    rows = list(csv.DictReader(io.StringIO(files["compare.csv"].decode())))
    (mae,) = [r for r in rows if r["policy"] == "off, after RL" and r["metric"] == "MAE"]
    assert (float(mae["value"]), float(mae["low"]), float(mae["high"]), mae["n"]) == (1 / 3, 0.25, 0.5, "8")
    (test,) = [r for r in rows if r["p"]]
    assert (test["data"], test["policy"], float(test["value"]), float(test["p"])) == (
        "sims_50%",
        "off - hint",
        -0.1,
        0.25,
    )
    (accuracy,) = [r for r in rows if r["data"] == "moods" and r["metric"] == "ACC"]
    assert (accuracy["value"], accuracy["low"], accuracy["n"]) == ("0.5", "0.25", "4")


def test_latex_has_the_rows_of_the_page(files):
    text = files["compare.tex"].decode()
    assert text.count(r"\toprule") == text.count(r"\end{table}") == 3
    table = result_table([("off, after RL", {"clips": 8, "metrics": METRICS, "intervals": INTERVALS})])
    assert rf"\begin{{tabular}}{{l{'c' * len(table.columns)}}}" in text
    assert r"off, after RL & 0.750 {\scriptsize[0.500, 1.000]}" in text and r"sims\_50\%" in text
