"""What a cell of a table holds: the numbers of a policy, and the set of hard clips that they are measured on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emsa_jax.answers.answer_options import ConceptOptions
from emsa_jax.data.datasets import DataSettings
from emsa_jax.evaluation.prefix_logp import PrefixSettings, prefix_logps
from emsa_jax.evaluation.result_files import read_predictions
from emsa_jax.manifest import write_atomic
from emsa_jax.policy import peft
from emsa_jax.policy.checkpoint import open_checkpoint
from emsa_jax.rewards.reward_options import RewardOptions
from emsa_jax.rewards.trigger import fewest_failures, threshold
from emsa_jax.rollout.prompted_data import open_split
from emsa_jax.rollout.rollout_options import HintOptions, PromptOptions
from emsa_jax.runtime.run import Run
from emsa_jax.training.artifacts import PolicySettings, policies, records_dir, training_manifest


@dataclass(frozen=True, kw_only=True)
class CellSettings(DataSettings, PolicySettings, PrefixSettings):
    """What measuring a cell reads of a run's options."""

    dtype: str
    attention: str
    format: str
    concepts: ConceptOptions
    prompt: PromptOptions


def write_hard_set(start: Path, answers: int, hint: HintOptions, rewards: RewardOptions, label_part: str) -> None:
    """hard.json: the clips of the held-out split whose G answers under the cold start fail as the hints of the table's
    base config have it: so many of them below its threshold. Predictions keep total rewards alone, so that a base that
    compares another part is measured by the total and its own threshold. label_part: of the answer format."""
    limit = threshold(hint if hint.metric == "total" else HintOptions(), rewards, label_part)
    rows = read_predictions(start / "evaluate" / "sft" / "train" / "predictions.jsonl")
    least = fewest_failures(hint.trigger_fraction, answers)
    known = [row for row in rows if row["target"] is not None]
    hard = [row["id"] for row in known if sum(reward < limit for reward in row["sampled_rewards"]) >= least]
    content = {"threshold": limit, "answers": answers, "clips": len(rows), "hard": hard}
    write_atomic(start / "hard.json", json.dumps(content, indent=1).encode() + b"\n")


def hard_set(start: Path) -> set[str]:
    """The ids of the hard clips that `write_hard_set` found."""
    return set(json.loads((start / "hard.json").read_text())["hard"])


def cell_values(run: Run, settings: CellSettings, policy: str, hard: set[str]) -> dict[str, float | None]:
    """The numbers of a policy. policy: of `artifacts.policies`. hard: ids of the clips of the hard set."""
    values: dict[str, float | None] = {}
    for role, suffix in (("train", ""), ("cross", "_cross")):
        path = run.path("evaluate", policy, role, "metrics.json")
        if not path.exists():
            continue
        found = json.loads(path.read_text())
        metrics = found["metrics"]
        values |= {
            f"accuracy{suffix}": metrics["Polarity_acc"],
            f"mae{suffix}": metrics["MAE"],
            f"corr{suffix}": metrics["Corr"],
            f"f1{suffix}": metrics["Polarity_F1_macro"],
        }
        if not suffix:
            values |= {
                "reward": found["rewards"]["total"],
                "reward_sampled": found["mean_sampled_reward"],
                "parsed": metrics["parse_rate"],
                "floor": (found["floor"] or {}).get("Polarity_acc"),
            }
    rows = read_predictions(run.path("evaluate", policy, "train", "predictions.jsonl"))
    right = [row["polarity"] == row["target_polarity"] for row in rows if row["id"] in hard]
    values |= {"hard_accuracy": float(np.mean(right)) if right else None, "hard_clips": float(len(right))}
    directory, adapter_dir = policies(run, settings)[policy]
    checkpoint = open_checkpoint(directory, settings.dtype, attention=settings.attention)
    adapter = peft.load_adapter(adapter_dir, checkpoint.config) if adapter_dir else None
    split = open_split(
        settings,
        records_dir(run, settings, "train"),
        checkpoint,
        settings.evaluate.split,
        settings.evaluate.max_clips,
        taught=training_manifest(run, settings, "train"),
    )
    members = [i for i, entry in enumerate(split.entries) if entry.id in hard]
    logps = prefix_logps(settings, split, adapter, members)
    values["prefix_logp"] = float(np.nanmean(logps)) if np.isfinite(logps).any() else None
    drawn = [row["num_tokens_drawn"] for row in read_steps(run.workdir) if row["stage"] == "grpo"]
    values["tokens"] = float(sum(drawn)) if drawn and policy == "grpo" else None
    return values


def read_steps(where: Path) -> list[dict]:
    """The rows of a run's metrics.jsonl."""
    log = where / "metrics.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def moved(where: Path, whole: Path) -> float:
    """The fraction of clips whose polarity differs from that of the arm that saw all modalities."""
    now = {row["id"]: row["polarity"] for row in read_predictions(where / "evaluate/zero_shot/train/predictions.jsonl")}
    before = {row["id"]: row["polarity"] for row in read_predictions(whole / "evaluate/grpo/train/predictions.jsonl")}
    return float(np.mean([now[id] != before[id] for id in now]))
