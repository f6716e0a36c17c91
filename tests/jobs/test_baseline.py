"""Somebody else's predictions beside a run: a row in its page, and a paired test against its policy."""
import json
import re

import pytest

from emsa_jax.errors import InputError
from emsa_jax.jobs.compare import CompareOptions, compare
from emsa_jax.jobs.evaluate import read_rows
from emsa_jax.jobs.options import Config
from emsa_jax.jobs.score import score_predictions


@pytest.fixture
def scored(mini, tmp_path, capsys):
    """(workdir of a run, what was said) after a csv of scores was held against its data."""
    run = mini.copy(tmp_path / "run", "config.json", "versions.json", "metrics.jsonl", "evaluate", "records", "puppets")
    rows = read_rows(run.workdir / "evaluate/grpo/train/predictions.jsonl")
    theirs = tmp_path / "closed.csv"
    theirs.write_text("id,pred\n" + "".join(f"{row['id']},{row['target']}\n" for row in rows))
    config = Config(predictions=str(theirs), data=str(run.workdir / "records/train"))
    score_predictions(config, run.workdir)
    return run.workdir, capsys.readouterr().out


def test_they_get_a_row_in_the_page(scored):
    workdir, said = scored
    assert "the run's page has their row now" in said
    page = (workdir / "report.html").read_text()
    assert "closed" in page.split('<section id="made"')[0]
    assert json.loads(said.splitlines()[-1])["metrics"]["Polarity_acc"] == 1.0


def test_they_are_compared_with_the_run(scored, tmp_path):
    workdir, _ = scored
    out = tmp_path / "page.html"
    compare(CompareOptions(runs=(str(workdir / "evaluate/closed"), str(workdir)), out=str(out), resamples=50))
    page = out.read_text()
    assert "closed, as scored" in page and "run, after RL" in page
    assert re.search(r"closed - run, puppets:en \(in domain\): 8 clips", page)
    for named, message in (("evaluate/nobody", "holds no metrics.json"), ("elsewhere/evaluate/closed", "is no workdir")):
        with pytest.raises(InputError, match=message):
            compare(CompareOptions(runs=(str(workdir / named), str(workdir)), out=str(out)))


def test_without_a_run_it_is_said(mini, tmp_path, capsys):
    theirs = tmp_path / "closed.csv"
    rows = read_rows(mini.workdir / "evaluate/grpo/train/predictions.jsonl")
    theirs.write_text(f"id,pred\n{rows[0]['id']},0.5\n")
    score_predictions(Config(predictions=str(theirs), data=str(mini.workdir / "records/train")), tmp_path / "alone")
    assert "is no run; in the --workdir of one they get a row" in capsys.readouterr().out
