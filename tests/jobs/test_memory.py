"""The memory plan: what is held is exact, the rest grows as it should; how near it comes is shown by tests/aot."""
from dataclasses import replace

import jax
import pytest

from emsa_jax.errors import InputError
from emsa_jax.jobs.memory import MemoryPlan, advice, memory_plan
from emsa_jax.jobs.options import Config, GrpoOptions
from emsa_jax.jobs.placement import Placement
from emsa_jax.learning.optimizer import build_optimizer
from emsa_jax.learning.state import create_state
from emsa_jax.parallel.mesh import MeshOptions, make_mesh
from emsa_jax.policy.config import preset
from emsa_jax.policy.inputs import Budget
from emsa_jax.policy.lora import LoraOptions, abstract_adapter, init_adapter
from emsa_jax.policy.table import num_params
from emsa_jax.policy.tiny import SPECIAL, tiny_config

POLICY = preset("7B")
CONFIG = Config(policy="any", dtype="bfloat16", grpo=GrpoOptions(group_size=8, prompts_per_step=16, micro_batches=8,
                                                               remat="full"))


def state_of(policy, lora):
    return jax.eval_shape(lambda a: create_state(a, build_optimizer(CONFIG.grpo.optimizer, 1)),
                          abstract_adapter(policy, lora))


def plan_of(config=CONFIG, policy=POLICY, there=78 * 10**9, reference=True):
    placement = Placement.on(make_mesh(MeshOptions(), jax.devices()[:1])[0], policy)
    state = state_of(policy, config.lora)
    each = config.grpo.prompts_per_step
    budget = Budget(1536, 5 * each, 4 * each, 1024)
    plan = memory_plan(config, policy, placement, state, state.params if reference else None, budget,
                       config.sampling.max_completion_length, there)
    return plan, placement


def test_what_is_held_is_exact():
    plan, _ = plan_of()
    adapter = 4 * 161_480_704
    assert plan.held["base"] == 2 * num_params(POLICY)
    assert (plan.held["adapter"], plan.held["reference"]) == (adapter, adapter)
    assert adapter * 2 <= plan.held["optimizer"] <= adapter * 2 + 100
    assert "reference" not in plan_of(reference=False)[0].held
    cache = 16 * 1536 * 2 * 28 * 4 * 128 * 2
    assert plan.phases["prefill"]["prompt cache"] == plan.phases["decode"]["prompt cache"] == cache


def test_the_shapes_of_an_adapter_are_those_that_are_drawn():
    policy = tiny_config({name: i for i, name in enumerate(SPECIAL)}, 64)
    options = LoraOptions(4, 8.0, ("q_proj", "down_proj", "audio.fc1"))
    drawn, shapes = init_adapter(policy, options, jax.random.key(0)), abstract_adapter(policy, options)
    assert jax.tree.structure(drawn) == jax.tree.structure(shapes)
    for a, b in zip(jax.tree.leaves(drawn), jax.tree.leaves(shapes), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)


def with_grpo(**fields):
    return replace(CONFIG, grpo=replace(CONFIG.grpo, **fields))


@pytest.mark.parametrize("config, phase, less", [
    (with_grpo(micro_batches=16), "update", True), (with_grpo(remat="none"), "update", False),
    (with_grpo(group_size=4), "decode", True), (with_grpo(prompts_per_step=32), "encode", False),
    (replace(CONFIG, dtype="float32"), "prefill", False)])
def test_fields_change_the_phases_they_should(config, phase, less):
    before, after = plan_of()[0].need(phase), plan_of(config)[0].need(phase)
    assert after < before if less else after > before


def test_kernels_that_keep_no_logits_save_them():
    fused = replace(POLICY, text=replace(POLICY.text, attention="cudnn"))
    for phase in ("prefill", "update"):
        assert plan_of(policy=fused)[0].need(phase) < plan_of()[0].need(phase)


def test_the_field_to_change_is_named():
    plan, placement = plan_of()
    gb = 10**9

    def said(held, config=CONFIG, **phases):
        needs = {phase: {"activations": int(phases.get(phase, 0) * gb)} for phase in plan.phases}
        small = MemoryPlan({"base": int(held * gb)}, needs, 40 * gb)
        assert not small.fits
        return advice(small, config, placement)

    assert "mesh.tensor (now 1) or mesh.fsdp" in said(45)
    assert said(45, replace(CONFIG, dtype="float32")) == "set dtype=bfloat16"
    many = MemoryPlan({"base": gb, "inputs": 60 * gb}, {phase: {} for phase in plan.phases}, 40 * gb)
    assert advice(many, CONFIG, placement).startswith("lower grpo.prompts_per_step (now 16): inputs are most")
    assert said(20, with_grpo(remat="dots"), update=30) == "set grpo.remat=full (now dots)"
    assert said(20, update=30) == "raise grpo.micro_batches (now 8, at most 16 here)"
    assert "sampling.max_completion_length" in said(20, with_grpo(micro_batches=16), update=30)
    assert said(20, decode=30) == "lower grpo.prompts_per_step (now 16): decode runs all of them at once"
    assert "frames" in said(20, with_grpo(prompts_per_step=1, micro_batches=1), encode=30)


@pytest.mark.parametrize(("trained", "fields"), [
    ("all", "set mesh.tensor or mesh.fsdp, or dtype=bfloat16, or sft.trainable=lora"),
    ("", "set mesh.tensor or mesh.fsdp, or dtype=bfloat16")])
def test_a_policy_that_no_device_holds_is_told_at_every_stage(monkeypatch, trained, fields):
    """Also where no memory plan is made: of the cold start, of evaluation and export."""
    monkeypatch.setattr("emsa_jax.jobs.placement.device_bytes", lambda: 10**9)
    with pytest.raises(InputError, match=f"on each device, which has 1; {fields}$"):
        Placement.of(Config(), POLICY, trained)
    Placement.of(Config(), tiny_config({name: i for i, name in enumerate(SPECIAL)}, 64), trained)


def test_lines_say_what_is_there_and_what_each_phase_needs():
    lines = plan_of()[0].lines()
    held = "base 17.86 GB, adapter 0.65 GB, optimizer 1.29 GB, reference 0.65 GB"
    assert lines[0].startswith(f"memory of each device: 78.00 GB; held: {held}")
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["encode", "prefill", "decode", "update"]
    assert plan_of()[0].fits and not plan_of(there=30 * 10**9)[0].fits


def test_layers_taken_apart_are_counted_where_they_are(monkeypatch):
    on_cpu = plan_of()[0].phases["decode"]
    monkeypatch.setattr("emsa_jax.policy.decoder.platform", lambda: "tpu")
    assert "layers taken apart" in on_cpu and "layers taken apart" not in plan_of()[0].phases["decode"]
    assert on_cpu["layers taken apart"] > 2 * 6.5e9
