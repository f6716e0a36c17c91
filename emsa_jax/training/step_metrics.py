"""What a GRPO step writes: a row of metrics under TRL's names and hint/*, its speed, and answers to read."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from emsa_jax.learning.grpo_update import GrpoBatch
from emsa_jax.parallel.batch_sharding import BatchSharding
from emsa_jax.policy.flops import GroupFlops
from emsa_jax.policy.inputs import PromptInputs
from emsa_jax.rewards.score_answers import RewardTable
from emsa_jax.rollout.sampler import Completions
from emsa_jax.runtime.clock import Clock
from emsa_jax.training.examples import num_rows
from emsa_jax.training.rollouts import Rollout


@dataclass(frozen=True, kw_only=True)
class StepCounts:
    """What is counted of a step, as arrays by name: of the whole batch, on every process.

    first, final: "length", "ended" and "forced" of the answers, [N, G]. first_table, final_table: "parts", "total",
    "well_formed", "contradict", "is_read". tokens: [N, G] that carry loss. zero_std, hard, hinted, failed: [N] bool, as
    in Rollout and GrpoBatch. counted, informative: [N] bool, prompts with an answer that counts, and with one that also
    has an advantage. prefix_logp, prompt_tokens: [N]. flops: [groups of processes, phases]. lines: bytes of a file.
    slots: of a prompt and of an answer. rows: that the answers of a prompt take in the update.
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
    counted: np.ndarray
    informative: np.ndarray
    prompt_tokens: np.ndarray
    flops: np.ndarray
    lines: np.ndarray
    slots: tuple[int, int]
    rows: int


def count_step(
    rollout: Rollout,
    examples: GrpoBatch,
    inputs: PromptInputs,
    *,
    flops: GroupFlops,
    lines: bytes,
    sharding: BatchSharding,
) -> StepCounts:
    """What is counted of a step, from the parts of all processes. lines: this process's part of a file."""
    local = {
        "first": _counts(rollout.first),
        "first_table": _values(rollout.first_table),
        "final": _counts(rollout.final),
        "final_table": _values(rollout.final_table),
        "hard": rollout.hard,
        "hinted": rollout.hinted,
        "failed": rollout.failed,
        "prefix_logp": rollout.prefix_logp,
        "tokens": examples.mask.sum(-1),
        "zero_std": examples.zero_std[:, 0],
        "counted": examples.counted.any(1),
        "informative": (examples.counted & (examples.advantages != 0)).any(1),
        "prompt_tokens": inputs.mask.sum(1),
        "flops": np.array([astuple(flops)]),
        "lines": np.frombuffer(lines, np.uint8),
    }
    slots = (inputs.mask.shape[1], rollout.final.tokens.shape[2])
    return StepCounts(slots=slots, rows=num_rows(examples), **sharding.all_gather(local, "what a step made"))


def step_metrics(rollout: StepCounts, learned: dict[str, Any]) -> dict[str, float]:
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
        "completions/unparsed": float(1 - rollout.first_table["is_read"].mean()),
        "completions/well_formed": float(rollout.first_table["well_formed"].mean()),
        "contradict_rate": float(rollout.first_table["contradict"].mean()),
        "hint/trigger_rate": float(rollout.hard.mean()),
        "num_tokens_drawn": int(rollout.first["length"].sum() + (length - rollout.final["forced"])[hinted].sum()),
    }
    known = rollout.hard & ~np.isnan(rollout.prefix_logp)
    if known.any():  # of the true polarity where the policy fails: it rises if the policy learns from its hints
        values["hint/prefix_logp"] = float(rollout.prefix_logp[known].mean())
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


def combine_updates(learned: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The metrics of a step of several updates: those of the last one. Those of how far sampler and learner differ are
    of the first, after which they are different policies; what `guarded_update` says is of all."""
    causes = [int(one["guard/cause"]) for one in learned]
    return {
        **learned[-1],
        **{name: value for name, value in learned[0].items() if name.startswith("sampling/")},
        "guard/cause": next(filter(None, causes), 0),
        "guard/bad_updates": sum(map(bool, causes)),
        "guard/largest_change": max(float(one["guard/largest_change"]) for one in learned),
    }


def missing_signal(rollout: StepCounts, settings: Any) -> str:
    """Why a step has nothing to learn from, and which field to change; "" if it has.

    settings: a stage's `GrpoSettings`, of which hint, adv, loss and reward are read."""
    if rollout.informative.any():
        return ""
    if settings.hint.polarity_nll and (settings.hint.polarity_nll_scope == "all" or rollout.hard.any()):
        return ""
    if not rollout.final["ended"].any():
        return "every answer is cut off at the length limit; raise sampling.max_completion_length"
    if not rollout.counted.any():
        if settings.hint.mode == "drop_hard":
            return "every group is hard and left out (hint.mode=drop_hard); lower hint.threshold"
        return "every answer is left out as cut off; raise sampling.max_completion_length"
    if not any(settings.reward.weight(name) for name in rollout.final_table["parts"]):
        return "all reward.weights are 0; set one of them"
    spread = (np.nanmax(rollout.final_table["total"], 1) > np.nanmin(rollout.final_table["total"], 1)).any()
    if spread and settings.adv.min_std:
        return "no group's rewards spread as much as adv.min_std asks; lower it"
    return "all answers to a prompt earn the same reward; raise sampling.temperature, or look at reward.weights"


def step_speed(
    rollout: StepCounts, clock: Clock, *, peak: float, reference: bool, num_iterations: int
) -> dict[str, float]:
    """How fast a step was, and what it wasted.

    time/PHASE: seconds; time/other: what no phase claims, on the host. step_time: all of them, without data_time, the
    wait for data. decode_tok_s: drawn tokens a second, hints aside. mfu, mfu/PHASE: model FLOPs by formula, as a share
    of what `peak` FLOPs a second would have done. padding/prompt, padding/completion: share of slots that hold no
    token, those of the update where answers are packed. compilations: since the last row.

    reference: whether its log-probabilities were computed. num_iterations: updates of the step.
    """
    seconds, total = dict(clock.seconds), clock.elapsed()
    wait = seconds.pop("wait", 0.0)
    values = {f"time/{name}": spent for name, spent in seconds.items()}
    values |= {"time/other": total - wait - sum(seconds.values()), "data_time": wait, "step_time": total - wait}
    drawn, lengths = rollout.first["length"], rollout.final["length"]
    flops = asdict(GroupFlops(*rollout.flops.sum(0)))
    flops["reference"] *= reference
    flops["update"] *= num_iterations
    values |= {f"mfu/{name}": flops[name] / (spent * peak) for name, spent in seconds.items() if name in flops}
    values["mfu"] = sum(flops.values()) / (total * peak)
    prompt, slots = len(lengths) * rollout.slots[0], len(lengths) * rollout.rows * rollout.slots[1]
    values |= {
        "decode_tok_s": drawn.sum() / seconds["decode"],
        "padding/prompt": 1 - rollout.prompt_tokens.sum() / prompt,
        "padding/completion": 1 - lengths.sum() / slots,
        "peak_gb": _peak_gigabytes(),
        "compilations": clock.take_compilations(),
        "hint/extra_gen_time": seconds.get("hint", 0.0),
    }
    return values


def sample_lines(step: int, rollout: Rollout, clips: Sequence, count: int, sharding: BatchSharding) -> bytes:
    """This process's lines of completions_{step}.jsonl: every answer's bookkeeping, with the text of those to the
    batch's first `count` prompts and of hinted ones."""
    lines, first = [], sharding.group * len(clips)
    for n, clip in enumerate(clips):
        with_text = first + n < count or rollout.hinted[n]
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
        if with_text:
            row |= {"completions": rollout.first_texts[n]}
            row |= {"hinted_completions": rollout.final_texts[n]} if rollout.replaced[n] else {}
        lines.append(json.dumps(row, ensure_ascii=False, allow_nan=False))
    return ("\n".join(lines) + "\n").encode()


def _counts(answers: Completions) -> dict[str, np.ndarray]:
    return {name: np.asarray(getattr(answers, name)) for name in ("length", "ended", "forced")}


def _values(table: RewardTable) -> dict:
    values = {name: getattr(table, name) for name in ("parts", "total", "well_formed", "contradict")}
    return values | {"is_read": np.array([[answer.is_read for answer in group] for group in table.parsed], bool)}


def _nan(function: Callable[[np.ndarray], float], values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(function(known)) if len(known) else float("nan")


def _sample_std(values: np.ndarray) -> float:
    return float(np.std(values, ddof=1)) if values.size > 1 else 0.0


def _round(values: np.ndarray) -> list[float | None]:
    return [round(float(v), 4) if np.isfinite(v) else None for v in values]


def _peak_gigabytes() -> float:
    """The most memory that was in use, in 10^9 bytes: of the first device, or of this process where the device does
    not count it."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"] / 1e9
    lines = Path("/proc/self/status").read_text().splitlines() if Path("/proc/self/status").exists() else []
    return next((int(line.split()[1]) * 1024 / 1e9 for line in lines if line.startswith("VmHWM")), float("nan"))
