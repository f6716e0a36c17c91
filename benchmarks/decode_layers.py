"""How decoding should read the stacked layers of a frozen base, by what compilers for a TPU v5p and an H100 say.

    PYTHONPATH=.venv/aot python benchmarks/decode_layers.py [--layers 4] [--out benchmarks/results/decode_layers.md]

Needs the compilers (make plan or make test-aot installs them). Qwen2.5-Omni-7B's widths in bfloat16 with LoRA 64, 8
prompts of 1,536 tokens, 8 answers of 512 tokens to each, on one device. Forms: a loop over the stack, the layers sliced
from it at every token, and layers that are unrolled before the first one.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from unittest import mock

from emsa_jax.planning.planning_options import PromptShape
from emsa_jax.planning.topologies import compile_without_devices, topology


class Sliced(list):
    """A list of layers that are cut from the stack where they are used."""

    def __init__(self, stacked):
        super().__init__()
        self.stacked = stacked

    def __len__(self):
        return len(self.stacked.prompt_k)

    def __iter__(self):
        import jax

        return iter([jax.tree.map(lambda t, i=i: t[i], self.stacked) for i in range(len(self))])


def measure(name: str, form: str, layers: int) -> dict[str, float]:
    """Bytes that the program adds to its arguments, bytes it copies at every token, seconds to compile it."""
    from emsa_jax.planning.compiled_cost import Planned
    from emsa_jax.planning.longest_prompt import longest_prompt
    from emsa_jax.policy import decoder
    from emsa_jax.policy.thinker_config import preset
    from emsa_jax.runtime.placement import Placement
    from emsa_jax.settings.config import Config
    from emsa_jax.training.abstract_step import abstract_hints, abstract_step
    from emsa_jax.training.memory_work import grpo_work
    from emsa_jax.training.step import compile_grpo
    from emsa_jax.training.training_options import GrpoOptions

    policy = preset("7B")
    policy = dataclasses.replace(policy, text=dataclasses.replace(policy.text, num_hidden_layers=layers))
    config = Config(
        stages=("grpo",),
        policy="any",
        dtype="bfloat16",
        grpo=GrpoOptions(group_size=8, prompts_per_step=8, remat="full"),
    )
    where = topology(name)
    placement, _ = Placement.on_topology(
        policy,
        where.described()[:1],
        where.chip.memory,
        mesh=config.mesh,
        dtype=config.dtype,
        trained=config.lora,
    )
    attention = "plain" if where.chip.platform == "gpu" else "auto"
    policy = dataclasses.replace(policy, text=dataclasses.replace(policy.text, attention=attention))
    budget, _ = longest_prompt(PromptShape(frames=0, audio_seconds=0), policy, 8)
    stack_up = decoder.decode_layers

    def sliced(*arguments):
        with mock.patch.object(decoder, "unroll_layers", lambda: False):
            return Sliced(stack_up(*arguments))

    changes = {"unroll_layers": lambda: form != "loop"} | ({"decode_layers": sliced} if form == "sliced" else {})
    slots = config.sampling.max_completion_length
    hints = abstract_hints(max_completion_length=slots, prompts=8, shards=1)
    work = grpo_work(
        config.grpo,
        dtype=config.dtype,
        lora=config.lora,
        answer_slots=hints.slots,
        reference=config.loss.beta > 0,
    )
    programs = Planned(placement.decode, where.chip.memory, ("sample",))
    with mock.patch.multiple(decoder, **changes):
        base, reference, state, optimizer = abstract_step(policy, placement, work)
        compile_grpo(
            config,
            policy,
            {budget.prompt: budget},
            base=base,
            reference=reference,
            state=state,
            optimizer=optimizer,
            hints=hints,
            placement=placement,
            programs=programs,
        )
    cost = programs.costs["sample"]
    last = [m for m in cost.in_loops if m.unchanged and m.loop == cost.in_loops[-1].loop]  # of the largest cache
    copied = sum(m.bytes * (layers if m.depth > 1 else 1) for m in last)  # of a loop over layers in it: for each
    return {"added": cost.added, "copied": copied, "seconds": cost.seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    compile_without_devices()
    command = " ".join(["python benchmarks/decode_layers.py", *sys.argv[1:]])
    stack = 2 * 233.05e6 * args.layers
    lines = [
        "# How decoding reads the stacked layers",
        "",
        f"`{command}`: {args.layers} layers, of which the stack takes {stack / 1e9:.2f} GB.",
        "",
        "| device | form | memory beside the arguments, GB | copied at every token, GB | s to compile |",
        "|---|---|---|---|---|",
    ]
    for name in ("v5p:2x2x1", "h100:1"):
        for form in ("loop", "sliced", "unrolled"):
            found = measure(name, form, args.layers)
            sizes = f"{found['added'] / 1e9:.2f} | {found['copied'] / 1e9:.2f}"
            lines.append(f"| {name.split(':')[0]} | {form} | {sizes} | {found['seconds']:.0f} |")
            print(lines[-1], flush=True)
    print("\n".join(lines))
    if args.out:
        args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
