"""The examples run as they are, and print what they promise."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

from emsa_jax.answers.formats import FORMATS

ROOT = Path(__file__).parents[1]


def run(name: str, *arguments: str) -> str:
    """What an example prints."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / name, *arguments],
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_reward_of_one_step_rises():
    lines = [re.fullmatch(r"step \d+: reward (\S+), loss (\S+)", line) for line in run("one_step.py", "6").splitlines()]
    rewards, losses = ([float(line[i]) for line in lines] for i in (1, 2))
    assert len(rewards) == 6 and rewards[0] < 0.25 < 0.5 < rewards[-1]
    assert any(losses)


def test_a_reward_of_ones_own_is_paid_beside_the_others():
    assert [line.split(":")[0] for line in run("own_reward.py").splitlines()] == [
        "3.5 in all, 0.5 for its words",
        "3.0 in all, 0.0 for its words",
        "3.0 in all, 0.0 for its words",
    ]


def test_an_answer_format_of_ones_own_asks_for_its_tag_and_reads_it():
    *asked, good, bad = run("own_format.py").splitlines()
    assert asked[-1] == "<sure>low|high</sure>"
    assert good == "score 0.8, polarity Positive, notes: none"
    assert bad.startswith("score 0.8, polarity Positive, notes: sure is not one of")


def test_an_answer_format_of_ones_own_ends_as_it_says_for_each_score(monkeypatch):
    monkeypatch.setitem(FORMATS, "sure", None)  # which is taken back afterwards
    format = runpy.run_path(str(ROOT / "examples/own_format.py"))["Sure"]((-1.0, 1.0))
    before = format.before_score(format.write("Positive", "a smile", 0.8))
    assert all(format.parse(before + end).notes == () for _, end in format.score_ends())


def test_a_reader_of_ones_own_gives_samples_and_says_what_it_guessed():
    assert run("own_reader.py").splitlines() == [
        "train: a1 +1.0 what a wonderful day",
        "valid: a2 +0.0 it is as it is; mode dev was read as valid",
        "test: a3 -1.0 never again",
    ]
