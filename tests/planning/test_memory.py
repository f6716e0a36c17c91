"""The memory plan: what is held is exact, the rest grows as it should; how near it comes is shown by tests/aot."""

from dataclasses import replace

import jax
import pytest

from emsa_jax.planning.memory import answer_memory
from emsa_jax.policy.lora import abstract_adapter, init_adapter
from emsa_jax.policy.parameter_table import num_params
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.policy.thinker_config import ClipConfig
from emsa_jax.policy.tiny import SPECIAL, tiny_config

ADAPTER = 4 * 161_480_704  # bytes of LoRA 64 on the decoder in float32


def test_what_is_held_is_exact(big):
    plan = big.plan_of()
    assert plan.held["base"] == 2 * num_params(big.policy)
    assert (plan.held["adapter"], plan.held["reference"]) == (ADAPTER, ADAPTER)
    assert ADAPTER * 2 <= plan.held["optimizer"] <= ADAPTER * 2 + 100
    assert "reference" not in big.plan_of(reference=False).held
    assert "best so far" not in plan.held and big.plan_of(keeps_best=True).held["best so far"] == ADAPTER
    cache = 16 * 1536 * 2 * 28 * 4 * 128 * 2
    assert plan.phases["prefill"]["prompt cache"] == plan.phases["decode"]["prompt cache"] == cache


def test_the_shapes_of_an_adapter_are_those_that_are_drawn():
    policy = tiny_config({name: i for i, name in enumerate(SPECIAL)}, 64)
    options = LoraOptions(4, 8.0, ("q_proj", "down_proj", "audio.fc1"))
    drawn, shapes = init_adapter(policy, options, jax.random.key(0)), abstract_adapter(policy, options)
    assert jax.tree.structure(drawn) == jax.tree.structure(shapes)
    for a, b in zip(jax.tree.leaves(drawn), jax.tree.leaves(shapes), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)


@pytest.mark.parametrize(
    "fields, phase, less",
    [
        ({"micro_batches": 16}, "update", True),
        ({"remat": "none"}, "update", False),
        ({"group_size": 4}, "decode", True),
        ({"prompts": 32}, "encode", False),
        ({"dtype": "float32"}, "prefill", False),
    ],
)
def test_fields_change_the_phases_they_should(big, fields, phase, less):
    before, after = big.plan_of().need(phase), big.plan_of(**fields).need(phase)
    assert after < before if less else after > before


def test_parts_are_counted_as_they_are(big):
    """A policy without towers holds its text model alone; CLIP's frames take room while they are encoded."""
    alone = replace(big.policy, audio=None, vision=None)
    assert big.plan_of(alone).held["base"] == 2 * num_params(alone) < big.plan_of().held["base"]
    assert big.plan_of(alone).phases["encode"].keys() == {"prompts"}
    clip = replace(alone, vision=ClipConfig())
    assert big.plan_of(clip).held["base"] == 2 * num_params(clip)
    assert big.plan_of(clip).need("encode") > big.plan_of(alone).need("encode")


def test_kernels_that_keep_no_logits_save_them(big):
    fused = replace(big.policy, text=replace(big.policy.text, attention="cudnn"))
    for phase in ("prefill", "update"):
        assert big.plan_of(fused).need(phase) < big.plan_of().need(phase)


def test_lines_say_what_the_device_has_and_what_each_phase_needs(big):
    lines = big.plan_of().lines()
    held = "base 17.86 GB, adapter 0.65 GB, optimizer 1.29 GB, reference 0.65 GB"
    assert lines[0].startswith(f"memory of each device: 78.00 GB; held: {held}")
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["encode", "prefill", "decode", "update"]
    assert big.plan_of().fits and not big.plan_of(capacity=30 * 10**9).fits
    assert len(big.plan_of(capacity=10**12).lines()) == 5
    few = big.plan_of(capacity=10**12).lines(brief=True)  # where it is little, no more than that
    assert len(few) == 1 and few[0].endswith("; most is needed by decode: 43.08 GB")


def test_unrolled_layers_are_counted_where_they_are(big, monkeypatch):
    on_cpu = big.plan_of().phases["decode"]
    monkeypatch.setattr("emsa_jax.policy.decoder.platform", lambda: "tpu")
    assert "layers taken apart" in on_cpu and "layers taken apart" not in big.plan_of().phases["decode"]
    assert on_cpu["layers taken apart"] > 2 * 6.5e9


def test_the_cold_start_is_planned_too(big):
    plan = big.cold_start_of()
    held = {name: plan.held[name] for name in ("base", "adapter", "best so far")}
    assert held == {"base": 2 * num_params(big.policy), "adapter": ADAPTER, "best so far": ADAPTER}
    assert ADAPTER * 2 <= plan.held["optimizer"] <= ADAPTER * 2 + 100
    everything = big.cold_start_of(trained="all")
    whole = 2 * num_params(big.policy)
    assert "base" not in everything.held and everything.held["policy"] == everything.held["best so far"] == whole
    assert everything.phases["update"]["gradients"] == 2 * whole
    assert big.cold_start_of(micro_batches=8).need("update") < plan.need("update")
    assert big.cold_start_of(remat="none").need("update") > plan.need("update")
    fewer = replace(big.learning.validation, batch_size=4)
    assert big.cold_start_of(validation=fewer).need("validation") < plan.need("validation")


def test_towers_that_learn_and_expected_scores_are_planned(big):
    heard = LoraOptions(64, 128.0, (*LoraOptions().targets, "audio.fc1"))
    for plan in (big.plan_of, big.cold_start_of):
        learned = plan(lora=heard) if plan is big.plan_of else plan(trained=heard)
        assert learned.phases["update"]["activations"] > 1.2 * plan().phases["update"]["activations"]
    projector = LoraOptions(64, 128.0, (*LoraOptions().targets, "audio.proj"))
    assert (
        big.cold_start_of(trained=projector).phases["update"]["activations"]
        == (
            big.cold_start_of().phases["update"]["activations"]  # no gradient goes into its layers
        )
    )
    assert "ends" not in big.plan_of().phases
    few, many = big.plan_of(ends=60).phases["ends"], big.plan_of(ends=600).phases["ends"]
    assert few["prompt cache"] == big.plan_of().phases["decode"]["prompt cache"]
    assert 0 < few["activations"] < many["activations"]


def test_prediction_is_planned_too(big):
    def plan(**fields):
        work = replace(big.answering, **fields)
        return answer_memory(work, big.policy, big.here(), big.shape_of(work.batch_size))

    assert plan().held["base"] == 2 * num_params(big.policy) and plan().held["adapter"] == ADAPTER
    assert "adapter" not in plan(adapter=None).held
    assert plan(answers=8).need("decode") > plan(answers=1).need("decode")
    assert all(plan(batch_size=2).need(phase) < plan().need(phase) for phase in ("encode", "prefill", "decode"))
