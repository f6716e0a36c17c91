"""The roofline against arithmetic by hand and against the counts of the 7B's parts."""

import dataclasses

import pytest

from emsa_jax.planning.longest_prompt import longest_prompt
from emsa_jax.planning.planning_options import PromptShape
from emsa_jax.planning.roofline import Assumptions, Step, step_seconds
from emsa_jax.planning.topologies import CHIPS
from emsa_jax.policy.lora import abstract_adapter
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.policy.thinker_config import preset

POLICY = preset("7B")
PERFECT = Assumptions(1, 1, 1, 1, 1, 0, 0)


@pytest.fixture(scope="module")
def step():
    return Step(
        policy=POLICY,
        adapter=abstract_adapter(POLICY, LoraOptions()),
        prompt=longest_prompt(PromptShape(), POLICY, 1)[1],
        prompts=64,
        group_size=8,
        answer_slots=512,
        micro_batches=4,
        remat="full",
        reference=True,
    )


def test_counts_of_the_step(step):
    """7.6 billion weights: 161.5 million of LoRA, 57,344 bytes of cache a token, two FLOPs a weight and token."""
    assert step.trained == 161_480_704
    assert step.token_bytes == 57_344
    tokens = 1536 + 8 * 512
    assert step.flops.prefill == pytest.approx(64 * 2 * 6.526e9 * 1536, rel=0.08)
    assert step.recomputed == pytest.approx(64 * 2 * (6.526e9 * tokens + 0.545e9 * 8 * 512), rel=0.12)
    assert 0.3 < (step.flops.update + step.recomputed) / (64 * 6 * 7.6e9 * tokens) < 1.1
    assert dataclasses.replace(step, remat="none").recomputed == 64 * 2 * 8 * 512 * 152064 * 3584


def test_a_perfect_chip_is_bound_by_its_data_sheet(step):
    chip = CHIPS["h100"]
    seconds = step_seconds(step, chip, (1, 1, 1), assumed=PERFECT)
    assert seconds["links"] == 0
    assert seconds["update"] == pytest.approx((step.flops.update + step.recomputed) / chip.flops)
    weights, logits = 2 * 7.07e9 + 4 * step.trained, 16 * 512 * 152064
    cached = 64 * (1536 + 8 * 256) * 57_344
    assert seconds["decode"] == pytest.approx(512 * (weights + logits + cached) / chip.bandwidth, rel=0.01)
    assert seconds["total"] == pytest.approx(sum(v for k, v in seconds.items() if k not in ("links", "total")))


def test_without_links_chips_add_up_and_with_them_they_cost(step):
    chip = CHIPS["v5p"]
    one, four = (step_seconds(step, chip, (n, 1, 1), assumed=PERFECT) for n in (1, 4))
    assert four["update"] - four["links"] == pytest.approx(one["update"] / 4)
    assert four["links"] == pytest.approx(4 * 2 * 3 / 4 * 4 * step.trained / chip.link)  # gradients, each micro-batch
    tensor = step_seconds(step, chip, (1, 1, 4), assumed=PERFECT)
    # 28 layers, 2 sums each: prefill once, update 3 times, all tokens of the step; reference once; decoding each token
    rows = 64 * (4 * (1536 + 4096) + 1536) + 512 * 512
    assert tensor["links"] == pytest.approx(28 * 2 * 2 * 3 / 4 * rows * 2 * 3584 / chip.link)
    fsdp = step_seconds(step, chip, (1, 4, 1), assumed=PERFECT)
    gathered = (3 * 4 + 1) * 3 / 4 * 2 * 6.526e9
    assert fsdp["links"] == pytest.approx((gathered + 4 * 2 * 3 / 4 * step.trained) / chip.link, rel=0.01)


def test_slices_are_joined_by_their_slow_links(step):
    chip = CHIPS["v5e"]
    joined = step_seconds(step, chip, (8, 1, 4), 1, PERFECT)["links"]
    separate = step_seconds(step, chip, (8, 1, 4), 2, PERFECT)["links"]
    assert separate > joined
    assert separate - joined == pytest.approx(
        4 * step.trained * (1 / chip.outer_link + 2 * (3 / 4 - 7 / 8) / chip.link), rel=1e-6
    )
