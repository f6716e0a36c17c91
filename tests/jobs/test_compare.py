"""Two runs on one page, as a user asks for it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from emsa_jax.settings.job_options import CompareOptions

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def command(runs, out):
    arguments = [
        sys.executable,
        "-m",
        "emsa_jax.main",
        "--config=configs/compare.py",
        "--config.resamples=50",
        f"--config.runs={tuple(map(str, runs))!r}",
        f"--config.out={out}",
    ]
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)


def test_two_runs(mini, tmp_path):
    """The second one differs in one answer, which is now wrong."""
    other = mini.copy(tmp_path / "other", "config.json", "versions.json", "metrics.jsonl", "evaluate", "records")
    path = other.workdir / "evaluate/grpo/train/predictions.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0] |= {"polarity": None, "score": None, "answer": "no answer"}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = json.loads((other.workdir / "config.json").read_text())
    config["hint"]["mode"] = "off"
    (other.workdir / "config.json").write_text(json.dumps(config))
    done = command([mini.workdir, other.workdir], tmp_path / "compare.html")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "compare.html").read_text()
    assert all((tmp_path / f"compare.{end}").stat().st_size for end in ("md", "csv", "tex"))
    assert {"grpo_reward.png", "grpo_reward.csv"} <= {path.name for path in (tmp_path / "compare_curves").iterdir()}
    cases = json.loads(re.search(r'id="cases">(.*?)</script>', page).group(1))
    assert len(cases) == 16 and [one["who"] for one in cases[0]["answers"]] == ["run", "other"]
    (changed,) = [case for case in cases if case["answers"][1]["text"] == "no answer"]
    assert "unparsed" in changed["kinds"]
    assert "Paired tests on the same clips" in page and "run - other, puppets:en (in domain): 8 clips" in page
    assert "<dt>hint.mode</dt><dd>run: hint; other: off</dd>" in page  # what differs, and nothing else
    assert page.split('<section id="made"')[1].count("<dt>") == 1


def test_what_cannot_be_compared(mini, tmp_path):
    for runs, message in (((mini.workdir,), "at least two"), ((mini.workdir, tmp_path), "no workdir of a run")):
        done = command(runs, tmp_path / "page.html")
        assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1
    assert CompareOptions().resamples == 500
