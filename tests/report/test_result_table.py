"""The table of results: the same names and the same way of counting wherever it is shown."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from emsa_jax.config.edge import pick, to_dict
from emsa_jax.evaluation.predictions import summarize
from emsa_jax.jobs import report as report_job
from emsa_jax.report.result_table import result_table, shown_names
from emsa_jax.report.run_files import ReportSettings
from emsa_jax.settings.config import Config

POLARITY = ("Negative", "Neutral", "Positive")


def result(scores, targets, score_range=(-1.0, 1.0), fallback="worst"):
    def named(score):
        return None if score is None else POLARITY[int(np.sign(score)) + 1]

    rows = [
        {"id": str(i), "target": t, "target_polarity": named(t), "score": s, "polarity": named(s), "about": {}}
        for i, (s, t) in enumerate(zip(scores, targets, strict=True))
    ]
    return summarize(rows, score_range, fallback, 0.0, [0.2, -0.4])


TARGETS = [-0.6] * 22 + [0.8] * 8 + [0.0] * 2


def cells(table, name):
    (row,) = (row for row in table.rows if row.name == name)
    return dict(zip(table.columns, (cell.text for cell in row.cells), strict=True))


def test_what_rests_on_no_answer_says_so():
    """Where a score of 0 counted for each, Acc2 would be 0.750, beside 0.312 and less of what saw no clip."""
    table = result_table([("as given", result([None] * 32, TARGETS))])
    shown = cells(table, "as given")
    assert shown.pop("parsed") == "0 of 32"
    assert {title: text for title, text in shown.items() if text != "0 of 32 read"} == {}
    assert cells(table, "shuffled labels")["MAE"] == "0 of 32 read"
    assert cells(table, "mean of train")["MAE"] != "0 of 32 read"
    assert "counts as wrong, and as the score furthest from the truth" in table.notes[0]


def test_what_rests_on_some_answers_is_told():
    scores = [None] * 10 + [t + 0.1 for t in TARGETS[10:]]
    shown = cells(result_table([("after RL", result(scores, TARGETS))]), "after RL")
    assert shown["parsed"] == "22 of 32" and shown["Corr"] == "1.000 (22 of 32 read)"
    assert shown["Acc2 (0 neg.)"] == "0.625"  # the last two, above 0, are wrong as well
    neutral = result_table([("after RL", result(scores, TARGETS, fallback="neutral"))])
    assert cells(neutral, "after RL")["Acc2 (0 neg.)"] == "0.938"
    assert any("evaluate.fallback=neutral" in note for note in neutral.notes)


def test_what_claims_nothing_is_not_praised_for_claiming_nothing_false():
    found = result([0.5] * 32, TARGETS)
    for claiming, shown in ((0, "nothing claimed"), (12, "1.000 (12 of 32 claim something)"), (32, "1.000")):
        found["claims"] = {"clips": 32, "claiming": claiming, "f1": 0.5, "no_false": 1.0}
        assert cells(result_table([("as given", found)]), "as given")["no false claim"] == shown


def test_one_convention_of_zero_for_each_family():
    for score_range, zero, other in (((-1.0, 1.0), "0 neg.", 2), ((-3.0, 3.0), "no 0", 0)):
        found = result([0.5 if t == 0 else t for t in TARGETS], TARGETS, score_range)
        shown = cells(result_table([("after SFT", found)]), "after SFT")
        assert [title for title in shown if title.startswith("Acc2")] == [f"Acc2 ({zero})"]
        assert [title for title in shown if "F1" in title] == ["polarity F1", f"F1 ({zero})"]
        assert shown[f"Acc2 ({zero})"] == f"{1 - other / 32:.3f}"


def test_names_of_policies():
    assert shown_names(["zero_shot"], {}) == {"zero_shot": "as given"}
    assert shown_names(["zero_shot", "theirs"], {}) == {"zero_shot": "as given", "theirs": "theirs"}
    policies = ["zero_shot", "sft", "grpo"]
    sound = shown_names(policies, {"sft": "learned", "grpo": "training"})
    assert list(sound.values()) == ["zero-shot", "after SFT", "after RL"]
    marked = shown_names(policies, {"sft": "collapsed", "grpo": "nothing_learned"})
    assert list(marked.values()) == ["zero-shot", "after SFT (collapsed)", "after RL (nothing learned)"]


@pytest.mark.parametrize("scores", [[None] * 32, [t + 0.1 for t in TARGETS]], ids=["nothing read", "all read"])
def test_summary_terminal_and_page_say_the_same(tmp_path, monkeypatch, capsys, read_page, scores):
    found = result(scores, TARGETS)
    place = tmp_path / "evaluate/zero_shot/train"
    place.mkdir(parents=True)
    (place / "metrics.json").write_text(json.dumps(found))
    run = SimpleNamespace(workdir=tmp_path, path=lambda *parts: tmp_path.joinpath(*parts))
    monkeypatch.setattr(report_job, "policies", lambda *_: {"zero_shot": (tmp_path, None)})
    config = Config(data="clips.csv")
    (tmp_path / "config.json").write_text(json.dumps(to_dict(config)))
    settings = pick(ReportSettings, config)
    report_job.report(run, settings)
    said, summary = capsys.readouterr().out, (tmp_path / "summary.md").read_text()
    page = read_page((tmp_path / "report.html").read_bytes())
    table = result_table([("as given", found)])
    for row in table.rows:
        line = next(line for line in summary.splitlines() if line.startswith(f"| {row.name} |"))
        assert [text.strip() for text in line.strip("|").split("|")] == [row.name, *(cell.text for cell in row.cells)]
        assert row.name in page.text("th") and row.name in said
        assert all(cell.value in page.text("td") for cell in row.cells)
    titles = page.text("th")
    assert "…" not in said and all(title in titles for title in table.columns) and "Acc2 (0 positive)" not in titles
    for note in table.notes:
        assert note in summary and note in page.text() and note in " ".join(said.split())
