"""What is said of a memory plan: the field to change, and how many micro-batches."""

from dataclasses import replace

import pytest

from emsa_jax.errors import InputError
from emsa_jax.parallel.batch_sharding import BatchSharding
from emsa_jax.planning.memory import MemoryPlan, answer_memory
from emsa_jax.planning.memory_advice import announce, answer_advice, fit_grpo, grpo_advice, sft_advice

GB = 10**9


def test_the_field_to_change_is_named(big):
    plan, placement = big.plan_of(), big.here()

    def advice(held, phases, **fields):
        needs = {phase: {"activations": int(phases.get(phase, 0) * GB)} for phase in plan.phases}
        small = MemoryPlan({"base": int(held * GB)}, needs, 40 * GB)
        assert not small.fits
        return grpo_advice(small, replace(big.work, **fields), placement)

    update = {"update": 30}
    assert "mesh.tensor (now 1) or mesh.fsdp" in advice(45, {})
    assert advice(45, {}, dtype="float32") == "set dtype=bfloat16"
    many = MemoryPlan({"base": GB, "inputs": 60 * GB}, {phase: {} for phase in plan.phases}, 40 * GB)
    assert grpo_advice(many, big.work, placement).startswith("lower grpo.prompts_per_step (now 16): inputs are most")
    assert advice(20, update, remat="dots") == "set grpo.remat=full (now dots)"
    assert advice(20, update) == "raise grpo.micro_batches (now 8, at most 16 here)"
    assert "sampling.max_completion_length" in advice(20, update, micro_batches=16)
    assert advice(20, update, micro_batches=16).endswith(", or raise mesh.tensor (now 1)")
    assert advice(20, update, micro_batches=16, dtype="float32") == "set dtype=bfloat16"
    assert advice(20, {"decode": 30}) == "lower grpo.prompts_per_step (now 16): decode runs all of them at once"
    assert "frames" in advice(20, {"encode": 30}, prompts=1, micro_batches=1)


@pytest.mark.parametrize(
    ("fields", "capacity", "advice"),
    [
        ({}, 22e9, "cut the weights over more devices: mesh.tensor (now 1) or mesh.fsdp (now 1)"),
        ({"trained": "all"}, 60e9, "mesh.fsdp (now 1), or sft.trainable=lora"),
        ({"remat": "none"}, 35e9, "set sft.remat=full (now none)"),
        ({}, 24.5e9, "raise sft.micro_batches (now 4, at most 16 here)"),
        (
            {"micro_batches": 16, "asked": 32},
            30e9,
            "lower evaluate.batch_size (now 32, at least 1 here)",
        ),
    ],
)
def test_the_field_of_the_cold_start_to_change_is_named(big, monkeypatch, fields, capacity, advice):
    monkeypatch.setattr("emsa_jax.policy.decoder.platform", lambda: "tpu")  # where layers are not unrolled
    asked = fields.get("asked", 8)
    fields = {name: value for name, value in fields.items() if name != "asked"}
    fields["validation"] = replace(big.answering, answers=1, batch_size=asked)
    plan = replace(big.cold_start_of(**fields), capacity=int(capacity))
    assert not plan.fits and sft_advice(plan, replace(big.learning, **fields), big.here()).endswith(advice)


def test_what_is_held_is_an_error_and_what_may_fit_is_said(big, capsys):
    plan = replace(big.cold_start_of(), capacity=26 * GB)
    announce(plan, "do this")
    assert f"memory: {plan.worst} may need more than there is; do this" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"memory: 20.* GB are held on each device, and it has 20.00 GB; do that"):
        announce(replace(plan, capacity=20 * GB), "do that")
    single = replace(big.answering, batch_size=1)
    plan = replace(answer_memory(single, big.policy, big.here(), big.shape_of(1)), capacity=25 * GB)
    assert answer_advice(plan, single, big.here()).startswith("lower sampling.max_completion")


def test_micro_batches_are_as_few_as_fit(big, capsys):
    need = {n: big.plan_of(micro_batches=n, prompts=24).need("update") for n in (1, 2, 3, 4, 6, 24)}

    def chosen(capacity, micro_batches=0):
        work = replace(big.work, micro_batches=micro_batches, prompts=24)
        return fit_grpo(work, big.policy, big.here(), big.shape_of(24), int(capacity))[0].micro_batches

    assert chosen(10**12) == 1 and chosen(need[1] * 1.1) == 2  # arithmetic errs: it must fit with room to spare
    assert chosen(need[6] / 0.84) == 6 and chosen(need[6]) == 12
    assert chosen(10**9) == 24  # nothing fits: a prompt at a time, and the plan says that it does not
    assert "grpo.micro_batches: 24, with which an update needs" in capsys.readouterr().out
    assert chosen(10**9, micro_batches=4) == 4 and not capsys.readouterr().out


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


def test_process_0_chooses_the_micro_batches_for_all(big, monkeypatch):
    """Devices that report a little more or less memory would else run different programs and wait for each other."""
    monkeypatch.setattr("emsa_jax.planning.memory_advice.processes.broadcast", lambda function, what: 6)
    work, _ = fit_grpo(replace(big.work, micro_batches=0, prompts=24), big.policy, big.here(), big.shape_of(24))
    assert work.micro_batches == 6
