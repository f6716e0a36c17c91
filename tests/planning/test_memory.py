"""The memory plan: what is held is exact, the rest grows as it should; how near it comes is shown by tests/aot."""

from dataclasses import replace

import jax
import pytest

from emsa_jax.errors import InputError
from emsa_jax.evaluation.evaluation_options import EvaluateOptions
from emsa_jax.parallel.batch_sharding import BatchSharding
from emsa_jax.parallel.mesh import make_mesh
from emsa_jax.parallel.parallel_options import MeshOptions
from emsa_jax.planning.memory import (
    MemoryPlan,
    announce,
    answer_advice,
    answer_memory,
    grpo_advice,
    grpo_memory,
    sft_advice,
    sft_memory,
    with_micro_batches,
)
from emsa_jax.policy.inputs import InputShape
from emsa_jax.policy.lora import abstract_adapter, init_adapter
from emsa_jax.policy.parameter_table import num_params
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.policy.thinker_config import preset
from emsa_jax.policy.tiny import SPECIAL, tiny_config
from emsa_jax.runtime.placement import Placement
from emsa_jax.settings.config import Config
from emsa_jax.training.training_options import GrpoOptions, SftOptions

POLICY = preset("7B")
CONFIG = Config(
    policy="any", dtype="bfloat16", grpo=GrpoOptions(group_size=8, prompts_per_step=16, micro_batches=8, remat="full")
)


def here(policy=POLICY):
    return Placement.on(make_mesh(MeshOptions(), jax.devices()[:1])[0], policy)


def budget_of(rows):
    return InputShape(1536, 5 * rows, 4 * rows, 1024)


def plan_of(config=CONFIG, policy=POLICY, there=78 * 10**9, reference=True):
    plan = grpo_memory(
        config,
        policy,
        here(policy),
        budget_of(config.grpo.prompts_per_step),
        config.sampling.max_completion_length,
        reference,
        there,
    )
    return plan, here(policy)


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


@pytest.mark.parametrize(
    "config, phase, less",
    [
        (with_grpo(micro_batches=16), "update", True),
        (with_grpo(remat="none"), "update", False),
        (with_grpo(group_size=4), "decode", True),
        (with_grpo(prompts_per_step=32), "encode", False),
        (replace(CONFIG, dtype="float32"), "prefill", False),
    ],
)
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
        return grpo_advice(small, config, placement)

    assert "mesh.tensor (now 1) or mesh.fsdp" in said(45)
    assert said(45, replace(CONFIG, dtype="float32")) == "set dtype=bfloat16"
    many = MemoryPlan({"base": gb, "inputs": 60 * gb}, {phase: {} for phase in plan.phases}, 40 * gb)
    assert grpo_advice(many, CONFIG, placement).startswith("lower grpo.prompts_per_step (now 16): inputs are most")
    assert said(20, with_grpo(remat="dots"), update=30) == "set grpo.remat=full (now dots)"
    assert said(20, update=30) == "raise grpo.micro_batches (now 8, at most 16 here)"
    assert "sampling.max_completion_length" in said(20, with_grpo(micro_batches=16), update=30)
    assert said(20, with_grpo(micro_batches=16), update=30).endswith(", or raise mesh.tensor (now 1)")
    assert said(20, replace(with_grpo(micro_batches=16), dtype="float32"), update=30) == "set dtype=bfloat16"
    assert said(20, decode=30) == "lower grpo.prompts_per_step (now 16): decode runs all of them at once"
    assert "frames" in said(20, with_grpo(prompts_per_step=1, micro_batches=1), encode=30)


@pytest.mark.parametrize(
    ("trained", "fields"),
    [
        ("all", "set mesh.tensor or mesh.fsdp, or dtype=bfloat16, or sft.trainable=lora"),
        ("", "set mesh.tensor or mesh.fsdp, or dtype=bfloat16"),
    ],
)
def test_a_policy_that_no_device_holds_is_told_at_every_stage(monkeypatch, trained, fields):
    """Also where no memory plan is made: of export."""
    monkeypatch.setattr("emsa_jax.runtime.placement.device_bytes", lambda: 10**9)
    with pytest.raises(InputError, match=f"on each device, which has 1; {fields}$"):
        Placement.of(Config(), POLICY, trained)
    Placement.of(Config(), tiny_config({name: i for i, name in enumerate(SPECIAL)}, 64), trained)


def test_lines_say_what_is_there_and_what_each_phase_needs():
    lines = plan_of()[0].lines()
    held = "base 17.86 GB, adapter 0.65 GB, optimizer 1.29 GB, reference 0.65 GB"
    assert lines[0].startswith(f"memory of each device: 78.00 GB; held: {held}")
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["encode", "prefill", "decode", "update"]
    assert plan_of()[0].fits and not plan_of(there=30 * 10**9)[0].fits
    assert len(plan_of(there=10**12)[0].lines()) == 5
    few = plan_of(there=10**12)[0].lines(brief=True)  # where it is little, no more than that
    assert len(few) == 1 and few[0].endswith("; most is needed by decode: 43.07 GB")


def test_layers_taken_apart_are_counted_where_they_are(monkeypatch):
    on_cpu = plan_of()[0].phases["decode"]
    monkeypatch.setattr("emsa_jax.policy.decoder.platform", lambda: "tpu")
    assert "layers taken apart" in on_cpu and "layers taken apart" not in plan_of()[0].phases["decode"]
    assert on_cpu["layers taken apart"] > 2 * 6.5e9


LEARNING = replace(CONFIG, sft=SftOptions(batch_size=16, micro_batches=4), evaluate=EvaluateOptions(batch_size=8))


def cold_start_of(config=LEARNING, there=0, monkeypatch=None):
    if there:
        monkeypatch.setattr("emsa_jax.planning.memory.device_bytes", lambda: there)
    rows = config.sft.batch_size // config.sft.micro_batches
    return sft_memory(config, POLICY, here(), budget_of(rows), 256, budget_of(config.evaluate.batch_size))


def changed(**fields):
    return replace(LEARNING, sft=replace(LEARNING.sft, **fields))


def test_the_cold_start_is_planned_too():
    adapter, plan = 4 * 161_480_704, cold_start_of()
    assert (plan.held["base"], plan.held["adapter"], plan.held["best so far"]) == (
        2 * num_params(POLICY),
        adapter,
        adapter,
    )
    assert adapter * 2 <= plan.held["optimizer"] <= adapter * 2 + 100
    everything = cold_start_of(changed(trainable="all"))
    whole = 2 * num_params(POLICY)
    assert "base" not in everything.held and everything.held["policy"] == everything.held["best so far"] == whole
    assert everything.phases["update"]["gradients"] == 2 * whole
    assert cold_start_of(changed(micro_batches=8)).need("update") < plan.need("update")
    assert cold_start_of(changed(remat="none")).need("update") > plan.need("update")
    fewer = replace(LEARNING, evaluate=EvaluateOptions(batch_size=4))
    assert cold_start_of(fewer).need("validation") < plan.need("validation")


def test_prediction_is_planned_too():
    def plan(adapter=True, **fields):
        config = replace(LEARNING, evaluate=replace(LEARNING.evaluate, **fields))
        return answer_memory(config, POLICY, here(), budget_of(config.evaluate.batch_size), adapter)

    assert plan().held["base"] == 2 * num_params(POLICY) and plan().held["adapter"] == 4 * 161_480_704
    assert "adapter" not in plan(adapter=False).held
    assert plan(samples=8).need("decode") > plan(samples=0).need("decode")
    assert all(plan(batch_size=2).need(phase) < plan().need(phase) for phase in ("encode", "prefill", "decode"))


@pytest.mark.parametrize(
    ("config", "there", "field"),
    [
        (LEARNING, 22e9, "cut the weights over more devices: mesh.tensor (now 1) or mesh.fsdp (now 1)"),
        (changed(trainable="all"), 60e9, "mesh.fsdp (now 1), or sft.trainable=lora"),
        (changed(remat="none"), 35e9, "set sft.remat=full (now none)"),
        (LEARNING, 24.5e9, "raise sft.micro_batches (now 4, at most 16 here)"),
        (
            replace(changed(micro_batches=16), evaluate=EvaluateOptions(batch_size=32)),
            30e9,
            "lower evaluate.batch_size (now 32, at least 1 here)",
        ),
    ],
)
def test_the_field_of_the_cold_start_to_change_is_named(monkeypatch, config, there, field):
    monkeypatch.setattr("emsa_jax.policy.decoder.platform", lambda: "tpu")  # where layers stay together
    plan = cold_start_of(config, int(there), monkeypatch)
    assert not plan.fits and sft_advice(plan, config, here()).endswith(field)


def test_what_is_held_decides_what_may_fit_is_said(monkeypatch, capsys):
    plan = cold_start_of(LEARNING, int(26e9), monkeypatch)
    announce(plan, "do this")
    assert f"memory: {plan.worst} may need more than there is; do this" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"memory: 20.* GB are held on each device, and it has 20.00 GB; do that"):
        announce(replace(plan, there=20 * 10**9), "do that")
    alone = replace(LEARNING, evaluate=EvaluateOptions(batch_size=1))
    plan = answer_memory(alone, POLICY, here(), budget_of(1), True)
    assert answer_advice(replace(plan, there=25 * 10**9), alone, here()).startswith("lower sampling.max_completion")


def test_micro_batches_are_as_few_as_fit(capsys):
    config = with_grpo(micro_batches=0, prompts_per_step=24)
    plans = {n: plan_of(with_grpo(micro_batches=n, prompts_per_step=24))[0].need("update") for n in (1, 2, 3, 4, 6, 24)}

    def chosen(there):
        return with_micro_batches(config, "grpo", 24, lambda c: plan_of(c, there=int(there))[0]).grpo.micro_batches

    assert chosen(10**12) == 1 and chosen(plans[1] * 1.1) == 2  # arithmetic errs: it must fit with room to spare
    assert chosen(plans[6] / 0.84) == 6 and chosen(plans[6]) == 12
    assert chosen(10**9) == 24  # nothing fits: a prompt at a time, and the plan says that it does not
    assert "grpo.micro_batches: 24, with which an update needs" in capsys.readouterr().out
    given = with_grpo(micro_batches=4)
    assert with_micro_batches(given, "grpo", 16, None) is given


@pytest.mark.parametrize(
    ("batch", "micro", "message"),
    [
        (6, 0, "grpo.prompts_per_step 6 must be a multiple of the 4 parts"),
        (64, 12, "grpo.micro_batches 12 must divide 16, each of the 4 parts .*; 8 does; 0 chooses"),
    ],
)
def test_what_cannot_be_cut_names_what_can(batch, micro, message):
    BatchSharding(4).check(64, "grpo.prompts_per_step", 16)
    with pytest.raises(InputError, match=message):
        BatchSharding(4).check(batch, "grpo.prompts_per_step", micro)


def test_process_0_chooses_the_micro_batches_for_all(monkeypatch):
    """Devices that say to have a little more or less memory would else wait for each other in different programs."""
    monkeypatch.setattr("emsa_jax.planning.memory.processes.broadcast", lambda function, what: 6)
    config = with_grpo(micro_batches=0, prompts_per_step=24)
    assert with_micro_batches(config, "grpo", 24, None).grpo.micro_batches == 6
