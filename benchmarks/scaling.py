"""Scaling on paper: seconds of a GRPO step on 1 to 256 devices by the roofline model. Nothing here is a measurement.

    python benchmarks/scaling.py [--policy qwen2_5_omni_7b] [--prompts 256] [--group 8] [--remat full]
                                 [--out benchmarks/results/scaling.md]

The step: prompts of 1,536 tokens (8 frames of 448 x 448, 10 s of sound), 512 tokens an answer, LoRA 64 on the decoder,
a reference, bfloat16; one update. The mesh is what mesh.preset=auto chooses; micro-batches of at most two prompts a
part; all prompts of a step are answered at once, so their caches have to fit too.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from emsa_jax.jobs.plan import POLICIES
from emsa_jax.parallel.mesh import choose
from emsa_jax.parallel.parallel_options import MeshOptions
from emsa_jax.planning.longest_prompt import longest_prompt
from emsa_jax.planning.planning_options import PromptShape
from emsa_jax.planning.roofline import Assumptions, Step, step_seconds
from emsa_jax.planning.topologies import CHIPS
from emsa_jax.policy.flops import text_linears
from emsa_jax.policy.lora import abstract_adapter
from emsa_jax.policy.thinker_config import preset
from emsa_jax.runtime.placement import memory_need
from emsa_jax.settings.config import Config

SLOTS = 512
SHOWN = ("v5e", "v5p", "h100", "h200")


def rows(name: str, args: argparse.Namespace) -> list[str]:
    """The table's lines of one chip."""
    chip, policy, config = CHIPS[name], preset(POLICIES[args.policy]), Config(policy="any")
    need = memory_need(policy, "bfloat16", config.lora)
    adapter, (_, prompt) = abstract_adapter(policy, config.lora), longest_prompt(PromptShape(), policy, 1)
    lines, first = [], None
    for devices in (2**i for i in range(9)):
        sizes, _ = choose(MeshOptions(), devices, chip.kind, chip.memory, need)
        data, fsdp, tensor = sizes
        each = args.prompts // (data * fsdp)
        step = Step(
            policy=policy,
            adapter=adapter,
            prompt=prompt,
            prompts=args.prompts,
            group_size=args.group,
            answer_slots=SLOTS,
            micro_batches=max(each // 2, 1),
            remat=args.remat,
            reference=True,
        )
        prompts = each * PromptShape().tokens * step.token_bytes
        held = (need.weights + need.trained + prompts + 1.5 * each * args.group * SLOTS * step.token_bytes) / tensor
        if chip.platform == "gpu":  # decoding takes layers and prompt cache apart
            held += (2 * text_linears(policy) + prompts) / tensor
        if held > chip.memory or not each:
            lines.append(f"| {name} | {devices} | {data} x {fsdp} x {tensor} | does not fit | | | | | | |")
            continue
        machines = -(-devices // chip.machine_size) if chip.machine_size else 1
        s = step_seconds(step, chip, sizes, machines)
        first = first or devices * s["total"]
        lines.append(
            f"| {name} | {devices} | {data} x {fsdp} x {tensor} | {s['total']:.1f} | "
            f"{args.prompts * args.group / s['total']:.1f} | {first / (devices * s['total']):.0%} | "
            f"{s['encode'] + s['prefill']:.2f} | {s['decode']:.2f} | {s['reference'] + s['update']:.2f} | "
            f"{s['links'] / s['total']:.0%} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policy", choices=sorted(POLICIES), default="qwen2_5_omni_7b")
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--remat", choices=("none", "dots", "full"), default="full")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    assumed = ", ".join(f"{name} {value:g}" for name, value in asdict(Assumptions()).items())
    sheets = [
        f"- {name}: {c.flops / 1e12:.0f} TFLOP/s, {c.bandwidth / 1e9:,.0f} GB/s of memory, links "
        f"{c.link / 1e9:.0f} GB/s an axis, {c.outer_link / 1e9:g} between {'machines' if c.machine_size else 'slices'}"
        for name, c in CHIPS.items()
        if name in SHOWN
    ]
    lines = [
        "# Scaling on paper",
        "",
        f"`python benchmarks/scaling.py --policy {args.policy} --prompts {args.prompts} "
        f"--group {args.group} --remat {args.remat}`",
        "",
        " ".join(__doc__.split("\n\n")[2].split()),
        "",
        f"Assumed shares of the data sheets, and seconds a message: {assumed}.",
        "",
        *sheets,
        "",
        "| chip | devices | data x fsdp x tensor | step, s | answers/s | efficiency | encode and prefill, s | "
        "decode, s | reference and update, s | links |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in SHOWN:
        lines += rows(name, args)
    print("\n".join(lines))
    if args.out:
        args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
