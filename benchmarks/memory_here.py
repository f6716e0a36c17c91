"""What the memory plan foretells of a policy on this machine's device, beside what the compiler says.

    python benchmarks/memory_here.py [--policy weights/smol] [--rows 8] [--prompt 160] [--seconds 4] [--out FILE]

Nothing is loaded or run: programs are compiled from shapes, about a minute on two cores. Every line is what a program
needs beside its arguments, in GB: prompts of --prompt tokens, --seconds of sound in each, answers of 32 tokens, LoRA 16
on the text model and, where the line says so, on the audio tower; `ends`, the expected scores of a tree of 60 tokens.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emsa_jax.learning.learning_options import OptimizerOptions
from emsa_jax.learning.optimizer import build_optimizer
from emsa_jax.learning.sft_update import SftBatch, sft_update
from emsa_jax.learning.state import create_state
from emsa_jax.parallel.mesh import make_mesh
from emsa_jax.parallel.parallel_options import MeshOptions
from emsa_jax.planning.memory import AnswerWork, SftWork, answer_memory, sft_memory
from emsa_jax.policy.hf_config import read_config
from emsa_jax.policy.inputs import InputShape, abstract_inputs
from emsa_jax.policy.lora import abstract_adapter
from emsa_jax.policy.parameter_table import abstract_params
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.policy.thinker_config import ThinkerConfig
from emsa_jax.rollout.answering import answer, ends
from emsa_jax.rollout.expected_scores import ScoreTree
from emsa_jax.rollout.rollout_options import SamplingOptions
from emsa_jax.runtime.placement import Placement

TEXT = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
AUDIO = ("audio.q_proj", "audio.k_proj", "audio.v_proj", "audio.fc1", "audio.fc2")
SLOTS, TREE = 32, [[5, *divmod(i, 8), 2] for i in range(50)]


def beside_arguments(function: Any, *arguments: Any, donate: tuple[int, ...] = ()) -> int:
    """Bytes that the compiled function needs at once, its arguments left out."""
    sizes = jax.jit(function, donate_argnums=donate).lower(*arguments).compile().memory_analysis()
    return sizes.temp_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes


def added(phase: dict[str, int], *given: str) -> int:
    """What a phase of a plan adds, without what its program is given."""
    return sum(size for name, size in phase.items() if name not in given)


def programs(policy: ThinkerConfig, shape: InputShape, rows: int) -> Iterator[tuple[str, int, int]]:
    """(what, bytes by arithmetic, bytes by the compiler) of an update in all its forms, of answers, of their scores."""
    placement = Placement.on(make_mesh(MeshOptions(), jax.devices()[:1])[0], policy)
    optimizer, base = OptimizerOptions(1e-4), abstract_params(policy, np.float32)
    inputs = abstract_inputs(policy, shape, rows)
    asking = AnswerWork(dtype="float32", adapter=None, batch_size=rows, answers=1, answer_slots=SLOTS)
    for targets, remats in ((TEXT, ("none", "dots", "full")), (TEXT + AUDIO, ("full",))):
        lora = LoraOptions(16, 32.0, targets)
        built = build_optimizer(optimizer, 10)
        state = jax.eval_shape(lambda a, built=built: create_state(a, built), abstract_adapter(policy, lora))
        batch = SftBatch(
            jax.tree.map(lambda t: jax.ShapeDtypeStruct((1, *t.shape), t.dtype), inputs),
            jax.ShapeDtypeStruct((1, rows, SLOTS), np.int32),
            jax.ShapeDtypeStruct((1, rows, SLOTS), bool),
        )
        for remat in remats:
            work = SftWork(
                trained=lora,
                optimizer=optimizer,
                batch_size=rows,
                micro_batches=1,
                remat=remat,
                trace_slots=SLOTS,
                validation=asking,
            )
            update = functools.partial(sft_update, config=policy, optimizer=built, remat=remat)
            name = f"update, remat {remat}" + (", the audio tower's layers too" if targets != TEXT else "")
            told = added(sft_memory(work, policy, placement, shape, shape).phases["update"])
            yield name, told, beside_arguments(update, state, base, batch, donate=(0,))
    noise, ids = np.zeros(3, np.int32), np.zeros(rows, np.int32)
    told = answer_memory(replace(asking, ends=len(tree().tokens)), policy, placement, shape).phases
    answers = functools.partial(
        answer, config=policy, sampling=SamplingOptions(max_completion_length=SLOTS), group_size=1
    )
    worst = max(added(told[phase]) for phase in ("encode", "prefill", "decode"))
    yield "answers", worst, beside_arguments(answers, base, None, inputs, noise, ids)
    said = jnp.zeros((rows, 1, SLOTS), jnp.int32), jnp.zeros((rows, 1), jnp.int32)
    scored = functools.partial(ends, config=policy, tree=tree())
    yield "ends", added(told["ends"]), beside_arguments(scored, base, None, inputs, *said)


@functools.cache
def tree() -> ScoreTree:
    return ScoreTree.of_ends(range(len(TREE)), TREE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policy", default="weights/smol")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--prompt", type=int, default=160)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    policy, frames = read_config(args.policy), -(-int(100 * args.seconds) // 4) * 4
    shape = InputShape(args.prompt, chunks=args.rows if frames else 0, chunk_frames=frames)
    lines = ["| program | by arithmetic, GB | by the compiler, GB | ratio |", "|---|---|---|---|"]
    for what, told, used in programs(policy, shape, args.rows):
        lines.append(f"| {what} | {told / 1e9:.2f} | {used / 1e9:.2f} | {told / used:.2f} |")
        print(lines[-1], flush=True)
    if args.out:
        args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
