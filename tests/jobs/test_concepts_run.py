"""From votes to CD-GRPO with hints: puppets are annotated by the job, and the main job learns from what it wrote."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from emsa_jax.data.puppets import ConceptWorld, make_concept_puppets
from emsa_jax.jobs.benchmark import benchmark
from emsa_jax.settings.job_options import BenchmarkOptions

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SIZES = {
    "prepare.workers": 1,
    "sampling.max_completion_length": 80,
    "sft.max_steps": 2,
    "sft.batch_size": 4,
    "sft.eval_every": 2,
    "grpo.max_steps": 2,
    "grpo.prompts_per_step": 4,
    "grpo.group_size": 2,
    "grpo.micro_batches": 1,
    "evaluate.batch_size": 8,
    "evaluate.samples": 0,
    "stages": "('prepare','sft','grpo','evaluate','report')",
    "concepts.classes": 5,
    "reward.class_balance": "inverse",
    "reward.partial_credit": 0.5,
}


def start(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "emsa_jax.main", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "140"},
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """(data, workdir, what the two jobs printed)."""
    root = tmp_path_factory.mktemp("chain")
    data = root / "puppets"
    make_concept_puppets(data, ConceptWorld(num_train=24, num_valid=8, num_test=8, trace_share=1.0, workers=1))
    told = start(
        "--config=configs/annotate.py",
        f"--config.votes={data / 'votes.csv'}",
        f"--config.out={root}",
        f"--config.clips={data / 'label.csv'}",
        "--config.resamples=50",
    )
    shutil.move(root / "label.csv", data / "label.csv")
    shown = start(
        "--config=configs/grpo.py:puppets_concepts",
        f"--workdir={root / 'run'}",
        f"--config.data={data}",
        "--config.dataset=ch_cems",
        *(f"--config.{name}={value}" for name, value in SIZES.items()),
    )
    return data, root / "run", told, shown


def test_the_split_is_the_annotation_jobs(world):
    data, workdir, told, _ = world
    with open(data.parent / "labels.csv", newline="") as file:
        labels = {row["item"]: row for row in csv.DictReader(file)}
    assert len(labels) == 40 and "test: 8 items" in told and "kappa" in told
    rows = [json.loads(line) for line in (workdir / "evaluate/grpo/train/predictions.jsonl").read_text().splitlines()]
    assert {row["id"] for row in rows} == {item for item, row in labels.items() if row["split"] == "test"}
    for row in rows:
        label = labels[row["id"]]
        assert (row["target"], row["target_sentiment"]) == (float(label["score"]), label["class5"])
        assert row["target_concepts"] == {
            name: label[name] for name in ("tone", "expression", "speaking_style") if label[name]
        }
        assert {"accuracy", "concept", "format", "total"} == set(row["rewards"]) and row["about"]["scenario"]


def test_steps_tell_of_concepts_and_hints(world):
    _, workdir, _, shown = world
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["stage"] == "grpo"]
    assert len(rows) == 2 and {"rewards/accuracy/mean", "rewards/concept/mean"} <= set(rows[0])
    assert rows[0]["hint/trigger_rate"] > 0 and "hint/reward_gain" in rows[0]  # it has learned next to nothing
    assert max(row["sampling/logp_difference_max"] for row in rows) < 1e-4
    told = [
        json.loads(line)
        for path in sorted((workdir / "grpo/completions").iterdir())
        for line in path.read_text().splitlines()
    ]
    hinted = [row for row in told if row["hinted"]]
    assert hinted and all(text.startswith("<think><concept>") for row in hinted for text in row["hinted_completions"])
    metrics = json.loads((workdir / "evaluate/grpo/train/metrics.json").read_text())
    assert set(metrics["concepts"]) == {"expression", "speaking_style", "tone", "mean"}
    assert metrics["floor"]["ACC"] > 0.2 and metrics["metrics"]["n"] == 8
    assert "sentiment acc" in shown and "commonest class" in shown


def test_the_tables_take_its_predictions(world, tmp_path):
    run = world[1] / "evaluate/grpo/train"
    other = shutil.copy(run / "predictions.jsonl", world[1] / "second.jsonl")  # of another seed, as it were
    benchmark(BenchmarkOptions(runs=(f"a={run}", f"a={other}"), out=str(tmp_path)))
    text = (tmp_path / "tables.md").read_text()
    assert "| a | here | 2 |" in text and "published" not in text
