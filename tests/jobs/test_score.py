"""Somebody else's predictions beside a run: a row in its page, and a paired test against its policy."""

import json
import re

import pytest

from emsa_jax.errors import InputError
from emsa_jax.evaluation.evaluation_options import EvaluateOptions
from emsa_jax.jobs.compare import compare
from emsa_jax.jobs.score import score_predictions
from emsa_jax.json_file import read_json_rows
from emsa_jax.settings.config import Config
from emsa_jax.settings.job_options import CompareOptions


@pytest.fixture
def scored(mini, tmp_path, capsys):
    """(workdir of a run, what was said) after a csv of scores was held against its data."""
    run = mini.copy(tmp_path / "run", "config.json", "versions.json", "metrics.jsonl", "evaluate", "records", "puppets")
    rows = read_json_rows(run.workdir / "evaluate/grpo/train/predictions.jsonl")
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
    for named, message in (("evaluate/nobody", "holds no metrics.json"), ("other/evaluate/closed", "is no workdir")):
        with pytest.raises(InputError, match=message):
            compare(CompareOptions(runs=(str(workdir / named), str(workdir)), out=str(out)))


def test_of_other_clips_they_are_refused(scored, tmp_path):
    """They would stand in one table with results on the run's own."""
    workdir, _ = scored
    rows = read_json_rows(workdir / "evaluate/grpo/train/predictions.jsonl")
    theirs = tmp_path / "few.csv"
    theirs.write_text("id,pred\n" + "".join(f"{row['id']},0.5\n" for row in rows))
    data = str(workdir / "records/train")
    with pytest.raises(InputError, match="evaluated on other clips"):
        score_predictions(Config(predictions=str(theirs), data=data, evaluate=EvaluateOptions(max_clips=3)), workdir)
    assert not (workdir / "evaluate/few").exists()
    cross = read_json_rows(workdir / "evaluate/grpo/cross/predictions.jsonl")
    theirs.write_text("id,pred\n" + "".join(f"{row['id']},0.5\n" for row in cross))
    score_predictions(Config(predictions=str(theirs), data=str(workdir / "records/cross")), workdir)
    assert (workdir / "evaluate/few/cross/metrics.json").exists()  # of the run's second domain
    with pytest.raises(InputError, match="none of its ids is a clip of mode train"):
        score_predictions(
            Config(
                predictions=str(theirs), data=str(workdir / "records/cross"), evaluate=EvaluateOptions(split="train")
            ),
            workdir,
        )
    dots = theirs.rename(tmp_path / "...csv")
    with pytest.raises(InputError, match="no name that a directory could have"):
        score_predictions(Config(predictions=str(dots), data=data), workdir)


DAMAGED = {
    "evaluate/grpo/train/metrics.json": ('{"clips": 8, "met', "null", '{"metrics": {}}'),
    "evaluate/grpo/train/predictions.jsonl": ('{"id": "a', "[]", None),
    "versions.json": ("{", '{"a": 1}'),
    "metrics.jsonl": ('{"step": 1,\n', b"\xff\xfe\n"),
    "config.json": ("{",),
}


@pytest.mark.parametrize(("name", "content"), [(name, text) for name, texts in DAMAGED.items() for text in texts])
def test_damaged_files_are_named(scored, tmp_path, name, content):
    workdir, _ = scored
    runs = (str(workdir / "evaluate/closed"), str(workdir))
    path = workdir / name
    path.unlink() if content is None else path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=re.escape(str(path))):
        compare(CompareOptions(runs=runs, out=str(tmp_path / "page.html")))
    assert not (tmp_path / "page.html").exists()


def test_where_the_page_cannot_be_written_is_said(scored, tmp_path):
    workdir, _ = scored
    runs = (str(workdir / "evaluate/closed"), str(workdir))
    (tmp_path / "file").write_text("")
    for out, message in (
        (tmp_path, "config.out: .* cannot be written"),
        ("", "config.out: name the page"),
        (tmp_path / "file/page.html", "config.out: .* cannot be written"),
    ):
        with pytest.raises(InputError, match=message):
            compare(CompareOptions(runs=runs, out=str(out), resamples=0))
    with pytest.raises(InputError, match="is named twice"):
        compare(CompareOptions(runs=(runs[1], runs[1]), out=str(tmp_path / "page.html")))


def test_runs_on_other_clips_stand_apart(scored, mini, tmp_path):
    """No row of one set among those of another; what was judged otherwise is not tested, and both are told."""
    workdir, _ = scored
    other = mini.copy(tmp_path / "other", "config.json", "versions.json", "metrics.jsonl", "evaluate", "records")
    out = tmp_path / "page.html"

    def changed(name, value):
        path = other.workdir / "evaluate/grpo/train/metrics.json"
        found = json.loads(path.read_text())
        path.write_text(json.dumps(found | {"judged": found["judged"] | {name: value}}))
        compare(CompareOptions(runs=(str(workdir), str(other.workdir)), out=str(out), resamples=20))
        return out.read_text()

    page = changed("neutral_eps", 0.5)
    assert "No paired test of run and other, puppets:en (in domain): they differ in neutral_eps." in page
    page = changed("clips", "else")
    assert "puppets:en (in domain), 8 other clips of other: 8 clips with a score" in page


def test_without_a_run_it_is_said(mini, tmp_path, capsys):
    theirs = tmp_path / "closed.csv"
    rows = read_json_rows(mini.workdir / "evaluate/grpo/train/predictions.jsonl")
    theirs.write_text(f"id,pred\n{rows[0]['id']},0.5\n")
    score_predictions(Config(predictions=str(theirs), data=str(mini.workdir / "records/train")), tmp_path / "alone")
    assert "is no run; in the --workdir of one they get a row" in capsys.readouterr().out
