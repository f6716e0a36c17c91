"""How fast a GRPO step was, and what it wasted."""

from __future__ import annotations

from dataclasses import asdict

from emsa_jax.policy.flops import GroupFlops
from emsa_jax.runtime.clock import Clock
from emsa_jax.runtime.hardware import peak_gigabytes
from emsa_jax.settings.config import Config
from emsa_jax.training.step_metrics import Counted


def speed(config: Config, rollout: Counted, rows: int, clock: Clock, peak: float) -> dict[str, float]:
    """What metrics.jsonl says of a step's speed.

    time/PHASE: seconds; time/other: what no phase claims, on the host. step_time: all of them, without data_time, the
    wait for data. decode_tok_s: drawn tokens a second, hints aside. mfu, mfu/PHASE: model FLOPs by formula, as a share
    of what `peak` FLOPs a second would have done. padding/prompt, padding/completion: share of slots that hold no
    token, those of the update where answers are packed into `rows`. compilations: since the last row.
    """
    seconds, total = dict(clock.seconds), clock.elapsed()
    wait = seconds.pop("wait", 0.0)
    values = {f"time/{name}": spent for name, spent in seconds.items()}
    values |= {"time/other": total - wait - sum(seconds.values()), "data_time": wait, "step_time": total - wait}
    drawn, lengths = rollout.first["length"], rollout.final["length"]
    flops = asdict(GroupFlops(*rollout.flops.sum(0)))
    flops["reference"] *= config.loss.beta > 0
    flops["update"] *= config.grpo.num_iterations
    values |= {f"mfu/{name}": flops[name] / (spent * peak) for name, spent in seconds.items() if name in flops}
    values["mfu"] = sum(flops.values()) / (total * peak)
    prompt, slots = len(lengths) * rollout.slots[0], len(lengths) * rows * rollout.slots[1]
    values |= {
        "decode_tok_s": drawn.sum() / seconds["decode"],
        "padding/prompt": 1 - rollout.prompt_tokens.sum() / prompt,
        "padding/completion": 1 - lengths.sum() / slots,
        "peak_gb": peak_gigabytes(),
        "compilations": clock.compilations,
        "hint/extra_gen_time": seconds.get("hint", 0.0),
    }
    clock.compilations = 0
    return values
