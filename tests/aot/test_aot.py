"""The whole 7B Thinker compiled for TPUs and GPUs that are not here: it fits, and decoding gathers no weights.

`make test-aot`: minutes. Each case is a process of its own, as the compilers stay with a process for good.
"""

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from emsa_jax.policy.hf_config import to_hf
from emsa_jax.policy.thinker_config import preset

pytestmark = pytest.mark.aot
COMPILERS = Path(sys.prefix, "aot")

# prompts of a step and its micro-batches, 8 answers of 512 tokens to each prompt of 1,536: as the plan advises them
CASES = {"v5e:4x4": (64, 16), "v5p:2x2x1": (64, 8), "h100:1": (16, 8), "h100:8": (64, 4), "h200:1": (32, 8)}


def python(*arguments):
    assert COMPILERS.is_dir(), "make test-aot installs the compilers"
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(COMPILERS)}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]), done.stdout


def plan(**fields):
    return python(
        "-m",
        "emsa_jax.main",
        "--config=configs/plan.py",
        *(f"--config.{name.replace('__', '.')}={value}" for name, value in fields.items()),
    )


@pytest.mark.parametrize("topology", CASES)
def test_the_7b_fits(topology):
    prompts, micro_batches = CASES[topology]
    found, text = plan(topology=topology, grpo__prompts_per_step=prompts, grpo__micro_batches=micro_batches)
    print(text)
    assert found["fit"] and found["bytes_needed"] < found["bytes_there"]
    assert set(found["compile_seconds"]) == {"encode", "prefill", "sample", "update"}
    loop, weights = found["token_loop"], found["held"]["base"]
    assert loop["weights_gathered"] == 0 and loop["in_place"]
    # GPUs: what the compiler pads for products without trying them out; nearly all weights in a loop over layers
    assert loop["copied"] == 0 if topology.startswith("v") else loop["copied"] < 0.12 * weights
    for phase, size in found["phases"].items():  # the arithmetic that a run begins with
        assert found["phases_by_formula"][phase] == pytest.approx(size, rel=0.15), phase


def small(directory: Path) -> str:
    """A policy directory of 7B's widths with two layers."""
    config = preset("7B")
    config = replace(
        config,
        text=replace(config.text, num_hidden_layers=2),
        audio=replace(config.audio, encoder_layers=1),
        vision=replace(config.vision, depth=2, fullatt_block_indexes=(1,)),
    )
    (directory / "config.json").write_text(json.dumps(to_hf(config)))
    return str(directory)


CONTROL = """
    import dataclasses, sys
    from emsa_jax.planning.topologies import compile_without_devices
    compile_without_devices()
    from emsa_jax.jobs import plan
    from emsa_jax.parallel.parallel_options import MeshOptions
    from emsa_jax.policy import decoder
    from emsa_jax.runtime import placement
    from emsa_jax.settings.job_options import PlanOptions
    {change}
    options = PlanOptions(policy=sys.argv[1], topology="{topology}", mesh=MeshOptions({mesh}), compile="decode")
    options = dataclasses.replace(options, grpo=dataclasses.replace(options.grpo, prompts_per_step=8, micro_batches=2))
    plan.plan(options)
"""


def control(directory, **fields):
    return python("-c", textwrap.dedent(CONTROL).format(**fields), small(directory))[0]["token_loop"]


def test_weights_cut_along_fsdp_are_gathered_at_every_token_unless_laid_out_for_decoding(tmp_path):
    """What the assertion above would say if decoding followed the update's rules."""
    fields = {"topology": "v5e:2x2", "mesh": "fsdp=4"}
    assert control(tmp_path, **fields, change="")["weights_gathered"] == 0
    assert control(tmp_path, **fields, change="placement.DECODE = placement.UPDATE")["weights_gathered"] > 5e8


def test_gpus_copy_the_layers_of_a_loop_at_every_token(tmp_path):
    fields = {"topology": "h100:1", "mesh": ""}
    unrolled = control(tmp_path, **fields, change="")["copied"]
    assert control(tmp_path, **fields, change="decoder.unroll_layers = lambda: False")["copied"] > 4e8 > 4 * unrolled


LEARNING = """
    import functools, json, sys
    from emsa_jax.planning.topologies import compile_without_devices, topology
    compile_without_devices()
    import jax, numpy as np
    from emsa_jax.rollout.answering import answer
    from emsa_jax.jobs.plan import place_on, policy_of
    from emsa_jax.learning.sft_update import SftBatch, sft_update
    from emsa_jax.planning.compiled_cost import Planned
    from emsa_jax.planning.longest_prompt import longest_prompt
    from emsa_jax.planning.memory import answer_memory, sft_memory
    from emsa_jax.planning.planning_options import PromptShape
    from emsa_jax.rollout.rollout_options import SamplingOptions
    from emsa_jax.settings.config import Config
    from emsa_jax.settings.job_options import PlanOptions
    from emsa_jax.training.abstract_step import abstract_step
    from emsa_jax.training.memory_work import grpo_work, sft_work
    from emsa_jax.training.training_options import SftOptions
    where = topology("{topology}")
    policy = policy_of(PlanOptions(topology=where.name))
    config = Config(policy="any", dtype="bfloat16", sft=SftOptions(batch_size=16 * where.devices, micro_batches=4))
    placement, _ = place_on(where, policy, config, compiled=True)
    shared = dict(dtype=config.dtype, lora=config.lora)
    work = grpo_work(config.grpo, **shared, answer_slots=512, reference=False)
    base, _, state, optimizer = abstract_step(policy, placement, work)
    shards, asking, rows, slots = placement.sharding.num_shards, 8 * where.devices, 4 * where.devices, 256
    budget, asked = (longest_prompt(PromptShape(), policy, n // shards)[0] for n in (rows, asking))
    work = sft_work(config.sft, **shared, trace_slots=slots, batch_size=asking, answer_slots=512)
    learning = sft_memory(work, policy, placement, budget, asked)
    answering = answer_memory(work.validation, policy, placement, asked)
    programs = Planned(placement.update, where.chip.memory, ("update", "answer"))
    of_batch, whole = placement.update.batch(1), placement.update.whole
    batch = SftBatch(placement.inputs(budget, rows, 4), *(
        jax.ShapeDtypeStruct((4, rows, slots), dtype, sharding=of_batch) for dtype in (np.int32, bool)))
    programs.add("update", functools.partial(sft_update, config=policy, optimizer=optimizer, remat="full"), state,
                 base.update, batch, donate=(0,), out=(placement.update.state(state), whole))
    greedy = functools.partial(answer, config=policy, sampling=SamplingOptions(temperature=0.0), group_size=1)
    ids = jax.ShapeDtypeStruct((asking,), np.int32, sharding=placement.decode.batch())
    programs.add("answer", greedy, base.decode, state.params, placement.inputs(asked, asking), np.zeros(3, np.int32),
                 ids, out=placement.decode.batch(), layout=placement.decode)
    update, answers = (programs.costs[kind].arguments + programs.costs[kind].added for kind in ("update", "answer"))
    print(json.dumps({{"update": [learning.need("update"), update + learning.held["best so far"]],
                       "answers": [answering.need(answering.worst), answers]}}))
"""


def test_the_cold_starts_and_evaluations_arithmetic():
    """Of the programs that no plan compiles: an update of SFT, and prompts to answers in one."""
    found, text = python("-c", textwrap.dedent(LEARNING).format(topology="h100:1"))
    print(text)
    for name, (by_formula, compiled) in found.items():
        assert by_formula == pytest.approx(compiled, rel=0.15), name


def test_what_does_not_fit_is_said_with_the_field_to_change(tmp_path):
    found, text = plan(topology="v5e:2x2", policy=small(tmp_path), grpo__prompts_per_step=512, grpo__micro_batches=1)
    assert not found["fit"] and "raise grpo.micro_batches (now 1" in text
