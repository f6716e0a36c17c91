"""What a GRPO step tells: metrics under TRL's names and hint/*, and answers to read."""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass

import numpy as np

from emsa_jax.learning.grpo_update import GrpoBatch
from emsa_jax.parallel.batch_sharding import BatchSharding
from emsa_jax.policy.flops import GroupFlops
from emsa_jax.policy.inputs import PromptInputs
from emsa_jax.rewards.score_answers import RewardTable
from emsa_jax.rollout.sampler import Completions
from emsa_jax.settings.config import Config


@dataclass(frozen=True)
class Rollout:
    """Answers before and after hints, and what was thought of them. Host arrays; N prompts, G answers.

    hard: groups that failed. hinted: groups that were sampled again. failed: hinted groups that failed once more.
    prefix_logp: [N], log-probability of the true polarity's name, tags left out; nan where the format has none.
    """

    first: Completions
    first_texts: list[list[str]]
    first_table: RewardTable
    final: Completions
    final_texts: list[list[str]]
    final_table: RewardTable
    hard: np.ndarray
    hinted: np.ndarray
    failed: np.ndarray
    prefix_logp: np.ndarray

    @property
    def replaced(self) -> np.ndarray:
        """bool [N]: groups with hinted answers among those that are learned from."""
        return (np.asarray(self.final.forced) > 0).any(axis=1)

    def counted(
        self, batch: GrpoBatch, inputs: PromptInputs, flops: GroupFlops, lines: bytes, sharding: BatchSharding
    ) -> Counted:
        """This process's part of what is counted, with those of the others. lines: its part of a file."""
        own = {
            "first": _counts(self.first),
            "first_table": _values(self.first_table),
            "final": _counts(self.final),
            "final_table": _values(self.final_table),
            "hard": self.hard,
            "hinted": self.hinted,
            "failed": self.failed,
            "prefix_logp": self.prefix_logp,
            "tokens": batch.mask.sum(-1),
            "zero_std": batch.zero_std[:, 0],
            "prompt_tokens": inputs.mask.sum(1),
            "flops": np.array([astuple(flops)]),
            "lines": np.frombuffer(lines, np.uint8),
        }
        slots = (inputs.mask.shape[1], self.final.tokens.shape[2])
        return Counted(slots=slots, **sharding.all_gather(own, "what a step made"))


@dataclass(frozen=True)
class Counted:
    """What is counted of a step, of the whole batch, as arrays by name.

    first, final: "length", "ended" and "forced" of the answers. first_table, final_table: "parts", "total",
    "well_formed", "contradict". tokens: [N, G] that carry loss. zero_std: [N]. prompt_tokens: [N]. flops: [groups of
    processes, phases]. lines: bytes. slots: of a prompt and of an answer. The rest as in Rollout.
    """

    first: dict[str, np.ndarray]
    first_table: dict
    final: dict[str, np.ndarray]
    final_table: dict
    hard: np.ndarray
    hinted: np.ndarray
    failed: np.ndarray
    prefix_logp: np.ndarray
    tokens: np.ndarray
    zero_std: np.ndarray
    prompt_tokens: np.ndarray
    flops: np.ndarray
    lines: np.ndarray
    slots: tuple[int, int]


def _counts(answers: Completions) -> dict[str, np.ndarray]:
    return {name: np.asarray(getattr(answers, name)) for name in ("length", "ended", "forced")}


def _values(table: RewardTable) -> dict:
    return {name: getattr(table, name) for name in ("parts", "total", "well_formed", "contradict")}


def step_metrics(rollout: Counted, learned: dict, config: Config) -> dict[str, float]:
    """One row of metrics.jsonl. `reward` is before hints and comparable between runs, `reward_train` after them."""
    first, final = rollout.first_table["total"], rollout.final_table["total"]
    length, ended = rollout.final["length"], rollout.final["ended"]
    hinted = rollout.final["forced"] > 0
    tokens = np.maximum(rollout.tokens, 1)
    signed = np.asarray(learned.pop("sampling/signed_gap"))
    values = {name: float(value) for name, value in learned.items()}
    values |= {
        f"rewards/{name}/{what}": _nan(function, part)
        for name, part in rollout.first_table["parts"].items()
        for what, function in (("mean", np.nanmean), ("std", _sample_std))
    }
    values |= {
        f"rewards_train/{name}/mean": _nan(np.nanmean, part) for name, part in rollout.final_table["parts"].items()
    }
    values |= {
        "reward": _nan(np.nanmean, first),
        "reward_std": _nan(_sample_std, first),
        "reward_train": _nan(np.nanmean, final),
        "frac_reward_zero_std": float(rollout.zero_std.mean()),
        "num_tokens": int(rollout.tokens.sum()),
        "completions/mean_length": float(length.mean()),
        "completions/min_length": int(length.min()),
        "completions/max_length": int(length.max()),
        "completions/clipped_ratio": float(1 - ended.mean()),
        "completions/mean_terminated_length": float(length[ended].mean()) if ended.any() else 0.0,
        "completions/min_terminated_length": int(length[ended].min()) if ended.any() else 0,
        "completions/max_terminated_length": int(length[ended].max()) if ended.any() else 0,
        "completions/well_formed": float(rollout.first_table["well_formed"].mean()),
        "contradict_rate": float(rollout.first_table["contradict"].mean()),
        "hint/trigger_rate": float(rollout.hard.mean()),
        "num_tokens_drawn": int(rollout.first["length"].sum() + (length - rollout.final["forced"])[hinted].sum()),
    }
    told = rollout.hard & ~np.isnan(rollout.prefix_logp)
    if told.any():  # log-probability of the true polarity where the policy fails: does it learn, or is it told?
        values["hint/prefix_logp"] = float(rollout.prefix_logp[told].mean())
    if rollout.hinted.any():
        rows = rollout.hinted
        values |= {
            "hint/rescued_rate": float(1 - rollout.failed[rows].mean()),
            "hint/reward_gain": _nan(np.nanmean, final[rows]) - _nan(np.nanmean, first[rows]),
            "hint/contradict_rate": float(rollout.final_table["contradict"][rows].mean()),
        }
        if hinted.any():  # about 1, unless forced tokens are scored as if they had been drawn
            values["hint/ppl_ratio"] = float(np.exp((signed / tokens)[hinted].mean()))
    return values


def sample_lines(step: int, rollout: Rollout, clips, count: int, sharding: BatchSharding) -> bytes:
    """This process's lines of completions_{step}.jsonl: every answer's bookkeeping, with the text of those to the
    batch's first `count` prompts and of hinted ones."""
    lines, first = [], sharding.group * len(clips)
    for n, clip in enumerate(clips):
        shown = first + n < count or rollout.hinted[n]
        row = {
            "step": step,
            "id": clip.id,
            "target": clip.score,
            "hard": bool(rollout.hard[n]),
            "hinted": bool(rollout.hinted[n]),
            "prefix_logp": _round(rollout.prefix_logp[n : n + 1])[0],
            "rewards": _round(rollout.first_table.total[n]),
            "rewards_train": _round(rollout.final_table.total[n]),
        }
        if shown:
            row |= {"completions": rollout.first_texts[n]}
            row |= {"hinted_completions": rollout.final_texts[n]} if rollout.replaced[n] else {}
        lines.append(json.dumps(row, ensure_ascii=False))
    return ("\n".join(lines) + "\n").encode()


def _nan(function, values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(function(known)) if len(known) else float("nan")


def _sample_std(values: np.ndarray) -> float:
    return float(np.std(values, ddof=1)) if values.size > 1 else 0.0


def _round(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(v) else round(float(v), 4) for v in values]
