"""The memory plans of the 7B on one device, from which the tests of `planning` start."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import pytest

from emsa_jax.learning.learning_options import OptimizerOptions
from emsa_jax.parallel.mesh import make_mesh
from emsa_jax.parallel.parallel_options import MeshOptions
from emsa_jax.planning.memory import AnswerWork, GrpoWork, SftWork, grpo_memory, sft_memory
from emsa_jax.policy.inputs import InputShape
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.policy.thinker_config import preset
from emsa_jax.runtime.placement import Placement

POLICY = preset("7B")
WORK = GrpoWork(
    dtype="bfloat16",
    lora=LoraOptions(),
    optimizer=OptimizerOptions(1e-5),
    prompts=16,
    group_size=8,
    answer_rows=8,
    answer_slots=512,
    micro_batches=8,
    remat="full",
    reference=True,
)
ANSWERING = AnswerWork(dtype="bfloat16", adapter=LoraOptions(), batch_size=8, answers=4, answer_slots=512)
LEARNING = SftWork(
    trained=LoraOptions(),
    optimizer=OptimizerOptions(1e-5),
    batch_size=16,
    micro_batches=4,
    remat="full",
    trace_slots=256,
    validation=replace(ANSWERING, answers=1),
)


def here(policy=POLICY):
    return Placement.on(make_mesh(MeshOptions(), jax.devices()[:1])[0], policy)


def shape_of(rows):
    return InputShape(1536, 5 * rows, 4 * rows, 1024)


def plan_of(policy=POLICY, capacity=78 * 10**9, **fields):
    work = replace(WORK, **fields)
    return grpo_memory(work, policy, here(policy), shape_of(work.prompts), capacity)


def cold_start_of(**fields):
    work = replace(LEARNING, **fields)
    rows = work.batch_size // work.micro_batches
    return sft_memory(work, POLICY, here(), shape_of(rows), shape_of(work.validation.batch_size))


@pytest.fixture
def big():
    """The 7B: its policy, works, placement and plans."""
    return SimpleNamespace(
        policy=POLICY,
        work=WORK,
        learning=LEARNING,
        answering=ANSWERING,
        here=here,
        shape_of=shape_of,
        plan_of=plan_of,
        cold_start_of=cold_start_of,
    )
