"""SIGKILL at random moments of every phase: the same command again ends with the same bits as an undisturbed run.

A chain takes a fresh work directory through its phases; in each the whole process group is killed, a random while
after one of the phase's marks, and the same command given again. KILLS=40 makes as many (make test-kill).
"""

import json
import os
import random
import re
import signal
import time
from collections import Counter

import pytest

KILLS = int(os.environ.get("KILLS", "6"))
SHORT = ("sft update", "grpo sample", "grpo hint", "grpo update", "grpo save", "export write")
# the beginning of a mark, or a path that appears; in the order of a run
LONG = (
    "puppets/en.part",
    "records/train.partial",
    "policy.part",
    "sft update",
    "sft save",
    "sft answer",
    "sft write",
    "grpo encode",
    "grpo sample",
    "grpo hint",
    "grpo reference",
    "grpo update",
    "grpo save",
    "kept_answers greedy",
    "kept_answers sampled",
    "export write",
)
PATHS = tuple(phase for phase in LONG if "/" in phase or "." in phase)
MANY = (
    "sft update",
    "kept_answers greedy",
    "kept_answers sampled",
    "export write",
)  # come more than once however it goes
CLOCKED = re.compile("time(/.*)?|(step|data|eval)_time|hint/extra_gen_time|mfu(/.*)?|decode_tok_s|peak_gb|compilations")


def test_killed_and_started_again(mini, tmp_path):
    chance, killed_in, chain = random.Random(2), Counter(), 0
    while killed_in.total() < KILLS:
        phases = SHORT if KILLS <= len(SHORT) else LONG
        parts = ("compilation_cache",) if phases is LONG else ("compilation_cache", "puppets", "records", "policy")
        job = mini.copy(tmp_path / str(chain), *parts)
        chain += 1
        for phase in phases:
            if killed_in.total() == KILLS:
                break
            moment = kill_in(job, phase, chance)
            if moment is None:
                break  # the run has come to its end first
            killed_in[moment] += 1
        assert job.run() == 0, job.output
        check(job, mini)
    print(f"\n{killed_in.total()} kills in {chain} chains: {dict(killed_in)}")
    if phases is SHORT:
        assert set(killed_in) == set(SHORT)


@pytest.mark.slow
def test_killed_in_alignment(mini, tmp_path):
    """After a checkpoint, and while the aligned policy is written."""
    options = {"stages": "('align',)", "align.method": "gradient", "align.batch_size": 8, "align.max_steps": 7}
    parts, chance = ("compilation_cache", "puppets", "records", "policy"), random.Random(3)
    undisturbed, job = (mini.copy(tmp_path / name, *parts) for name in ("undisturbed", "killed"))
    assert undisturbed.run(**options) == 0, undisturbed.output
    for phase, let_pass in (("align_gradient update", 5), ("align write", 0)):
        assert kill_in(job, phase, chance, let_pass, **options) == phase
    assert "going on after step 5 of align" in job.log
    assert job.run(**options) == 0, job.output
    ours, theirs = (run.files("align/policy") for run in (job, undisturbed))
    assert ours == theirs and ours
    assert rows(job) == rows(undisturbed)


def kill_in(job, phase: str, chance: random.Random, let_pass: int | None = None, **options) -> str | None:
    """Starts the job and kills it in a phase, after `let_pass` of its marks. Returns the phase, or None if the job
    ended before it."""
    if let_pass is None:
        let_pass = chance.randint(0, 2) if phase in MANY else 0
    process = job.start(**options)
    began = time.monotonic()
    while not (job.workdir / phase).exists() if phase in PATHS else count(job.marks, phase) <= let_pass:
        assert time.monotonic() - began < 900, f"{phase} never came: {job.log}"
        if process.poll() is not None:
            assert process.returncode == 0, job.log
            return None
        time.sleep(0.002)
    time.sleep(chance.uniform(0, 0.15))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return phase


def count(marks: list[str], phase: str) -> int:
    return sum(mark.startswith(phase) for mark in marks)


def check(job, undisturbed) -> None:
    """All that was made, trained, answered and exported is equal to the bit, and nothing lies about."""
    kept = ("puppets", "records", "policy", "sft/policy", "grpo/adapter", "grpo/completions", "evaluate", "export")
    ours, theirs = (run.files(*kept) for run in (job, undisturbed))
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert rows(job) == rows(undisturbed)
    names = [path.name for path in job.workdir.rglob("*")]
    assert not [name for name in names if ".tmp" in name or ".part" in name or name.startswith(".unfinished")]


def rows(job) -> list[dict]:
    """The metrics, without the clock's."""
    lines = (job.workdir / "metrics.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if not CLOCKED.fullmatch(name)} for line in lines]
