"""The benchmark's tables: the field's numbers from predictions, seeds together, published lines marked."""

import csv
import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from sklearn import metrics as sk

from emsa_jax.errors import InputError
from emsa_jax.experiments.ch_cems_published import CLASS_COLUMNS, CLASSIFICATION, REGRESSION
from emsa_jax.experiments.ch_cems_tables import Table, class_row, group_accuracies, published_classes, regression_row
from emsa_jax.jobs.benchmark import benchmark
from emsa_jax.report.benchmark_files import table_markdown
from emsa_jax.report.box_plots import box_plot
from emsa_jax.settings.job_options import BenchmarkOptions

NAMES = ("Negative", "Weakly Negative", "Neutral", "Weakly Positive", "Positive")
SCENARIOS = ("vlogs", "melodramas")


def predictions(seed, named=True, n=200):
    """Rows as evaluate writes them: of a format that names five classes, or of one that names scores."""
    rng = np.random.default_rng(seed)
    rows = []
    for i, true in enumerate(np.random.default_rng(9).integers(-5, 6, n)):
        said = int(np.clip(true + rng.integers(-3, 4), -5, 5))
        row = {"id": str(i), "target": true / 5, "score": said / 5, "about": {"scenario": SCENARIOS[i % 2]}}
        if named:
            five = [2 + int(np.sign(x)) * (1 + (abs(x) > 3)) if x else 2 for x in (said, true)]
            row |= {"score": None, "sentiment": NAMES[five[0]], "target_sentiment": NAMES[five[1]]}
        rows.append(row)
    rows[0] |= {"sentiment": None, "score": None} if named else {"score": None}
    return [*rows, {"id": "x", "target": None, "score": 0.2, "sentiment": "Neutral", "target_sentiment": None}]


@pytest.mark.parametrize("named", [True, False])
def test_classes_are_scored_as_scikit_learn_does(named):
    seeds = [predictions(seed, named) for seed in range(5)]
    reference = [predictions(seed) for seed in range(5)]
    for classes in (3, 5):
        row = class_row("ours", seeds, classes)
        expected = []
        for rows in reference:
            true, pred = (
                [((r[key] or "none").removeprefix("Weakly ") if classes == 3 else r[key] or "none") for r in rows[:-1]]
                for key in ("target_sentiment", "sentiment")
            )
            labels = sorted(set(true))

            def mean(function, average, true=true, pred=pred, labels=labels):
                return function(true, pred, labels=labels, average=average, zero_division=0)

            expected.append(
                [
                    sk.accuracy_score(true, pred),
                    mean(sk.f1_score, "weighted"),
                    mean(sk.precision_score, "weighted"),
                    mean(sk.f1_score, "macro"),
                    mean(sk.recall_score, "macro"),
                    mean(sk.precision_score, "macro"),
                ]
            )
        np.testing.assert_allclose(row.means, 100 * np.mean(expected, 0), rtol=1e-9)
        np.testing.assert_allclose(row.deviations, 100 * np.std(expected, 0, ddof=1), rtol=1e-9)
        assert (row.seeds, row.published) == (5, False)


def test_anyone_elses_labels_are_scored_the_same():
    rows = predictions(0)
    theirs = [{"target": r["target"], "label": r["sentiment"], "target_label": r["target_sentiment"]} for r in rows]
    for classes in (3, 5):
        assert class_row("x", [theirs], classes) == class_row("x", [rows], classes)
    assert class_row("x", [[{"target": 0.6, "label": "joy", "target_label": "joy"}]], 3).means[0] == 0


def test_regression_in_the_papers_columns():
    rows = predictions(0, named=False)
    row = regression_row("ours", [rows])
    worst = {True: -1.0, False: 1.0}  # an unread score lies at the end that is wrong
    known = [
        (worst[r["target"] > 0] if r["score"] is None else r["score"], r["target"], r["score"] is not None)
        for r in rows
        if r["target"] is not None
    ]
    p, y, read = np.float32(known).T
    read = read > 0
    assert 0 < read.mean() < 1
    assert row.means[0] == pytest.approx(100 * np.mean((p > 0) == (y > 0)))
    assert row.means[6] == pytest.approx(100 * np.abs(p - y).mean(), rel=1e-6)
    assert row.means[5] == pytest.approx(100 * np.corrcoef(p[read], y[read])[0, 1], rel=1e-6)
    assert row.deviations == (None,) * 7 and row.seeds == 1


def test_three_classes_say_nothing_about_five():
    rows = [
        r | {k: r[k] and r[k].removeprefix("Weakly ") for k in ("sentiment", "target_sentiment")}
        for r in predictions(0)
    ]
    assert class_row("ours", [rows], 5) is None and group_accuracies([rows], "scenario", 5) == {}
    assert class_row("ours", [rows], 3).means == class_row("ours", [predictions(0)], 3).means


def test_groups_partition_the_clips():
    seeds = [predictions(seed) for seed in range(3)]
    found = group_accuracies(seeds, "scenario", 5)
    assert list(found) == list(SCENARIOS) and all(len(values) == 3 for values in found.values())
    whole = class_row("ours", seeds, 5).means[0]
    assert np.mean([np.mean(values) for values in found.values()]) == pytest.approx(whole)
    assert group_accuracies(seeds, "interaction", 5) == {}


def test_published_rows_are_whole_and_say_what_the_paper_says():
    assert all(len(part) == 7 for row in REGRESSION.values() for part in row)
    assert all(part is None or len(part) == len(CLASS_COLUMNS) for row in CLASSIFICATION.values() for part in row)
    three, five = ({row.model: row for row in published_classes(c)} for c in (3, 5))
    assert three["CD-GRPO"].means[0] == 73.62 and five["GPT-5 (zero-shot)"].means[0] == 45.49
    assert three["MISA"].deviations[0] == 1.23 and three["CD-GRPO"].seeds == 0 and len(three) == 18
    text = table_markdown(Table("t", CLASS_COLUMNS, [three["MISA"], class_row("mine|x", [predictions(0)], 3)]))
    assert "| MISA | published | 5 | 57.79±1.23 |" in text and "| mine\\|x | here | 1 |" in text


def test_box_plots_show_quartiles_and_outliers():
    groups = {"vlogs & <co>": {"ours": [50, 51, 52, 53, 90], "theirs": [40.0]}, "empty": {"ours": []}}
    text = box_plot(groups, "Accuracy by scenario", "accuracy, %")
    root = ET.fromstring(text)  # well-formed, names escaped
    shown = [e.text for e in root.iter() if e.text]
    assert {"Accuracy by scenario", "accuracy, %", "ours", "theirs", "vlogs & <co>"} <= set(shown)
    assert "empty" not in shown and "vlogs & <co>, ours: 5 seeds, median 52.0" in shown
    assert len([e for e in root.iter() if e.tag.endswith("circle")]) == 1  # 90 lies beyond the whiskers
    heights = {float(e.get("height")) for e in root.iter() if e.tag.endswith("rect") and e.get("class") == "b"}
    assert max(heights) == pytest.approx(240 * 2 / 50)  # quartiles 51 and 53 on an axis from 40 to 90


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_job_writes_tables_and_figures(tmp_path):
    runs = [f"mine={write(tmp_path / f'{s}.jsonl', predictions(s))}" for s in range(5)]
    runs += [f"scores={write(tmp_path / f'p{s}/predictions.jsonl', predictions(s, False)).parent}" for s in range(2)]
    benchmark(BenchmarkOptions(runs=tuple(runs), out=str(tmp_path / "out")))
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "tables.md",
        "tables.csv",
        "figure7_3.svg",
        "figure7_5.svg",
    }
    text = (tmp_path / "out" / "tables.md").read_text()
    assert "of CH-CEMS' 743 test clips, ours of 200: they do not compare" in text
    regression, three, five = text.split("\n## ")[1:]
    assert "| scores | here | 2 |" in regression and "| DLF | published | 5 |" in regression
    assert "| mine |" not in regression
    for part in (three, five):
        assert "| mine | here | 5 |" in part and "| CD-GRPO | published | - |" in part and "| scores | here | 2" in part
    with open(tmp_path / "out" / "tables.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["from"] for row in rows} == {"published", "here"}
    ET.parse(tmp_path / "out" / "figure7_5.svg")


def test_no_number_from_puppets_stands_beside_one_from_a_paper(tmp_path):
    write(tmp_path / "run/evaluate/grpo/train/predictions.jsonl", predictions(0))
    (tmp_path / "run/config.json").write_text(json.dumps({"data": "puppets:concepts_en"}))
    benchmark(BenchmarkOptions(runs=(f"mine={tmp_path / 'run/evaluate/grpo/train'}",), out=str(tmp_path / "out")))
    text = (tmp_path / "out" / "tables.md").read_text()
    assert "published" not in text and "| mine | here | 1 |" in text and "Puppets are a test bench" in text


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ((), "config.runs"),
        (("x",), "must look like MODEL=PATH"),
        (("m=nowhere",), "nowhere cannot be read"),
        (("m=BAD",), "line 1: not a prediction"),
        (("m=NONE",), "no prediction has a true score"),
        (("m=FAR",), "[-1, 1]"),
        (("m=EMPTY",), "a score, a sentiment or a label"),
        (("m=WORD",), "score 'high' is no number"),
        (("m=MOOD",), "sentiment 'Happy' is none of"),
        (("m=ABOUT",), "line 1"),
        (("m=GOOD", "m=GOOD"), "named twice"),
        (("m=GOOD", "m=OTHER"), "not of the clips that other seeds of m are of"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, runs, message):
    good = {"id": "a", "target": 0.4, "score": 0.2}
    files = {
        "BAD": [[1]],
        "NONE": [good | {"target": None}],
        "FAR": [good | {"target": 2.4}],
        "GOOD": [good],
        "EMPTY": [{"id": "a", "target": 0.4}],
        "WORD": [good | {"score": "high"}],
        "OTHER": [good | {"id": "b"}],
        "MOOD": [good | {"sentiment": "Happy"}],
        "ABOUT": [good | {"about": "x"}],
    }
    for name, rows in files.items():
        path = write(tmp_path / name.lower(), rows)
        runs = tuple(run.replace(name, str(path)) for run in runs)
    with pytest.raises(InputError) as error:
        benchmark(BenchmarkOptions(runs=runs, out=str(tmp_path / "out")))
    assert message in str(error.value)
