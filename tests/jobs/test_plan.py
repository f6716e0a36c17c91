"""The plan job, with this machine's CPU in place of a GPU: the run's own programs, and what is said of them."""

import json
from dataclasses import replace
from unittest import mock

import jax
import pytest

from emsa_jax import main
from emsa_jax.config.edge import to_config_dict
from emsa_jax.errors import InputError
from emsa_jax.jobs.plan import plan
from emsa_jax.planning.planning_options import PromptShape
from emsa_jax.planning.topologies import CHIPS, Topology
from emsa_jax.policy.hf_config import to_hf
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.policy.tiny import SPECIAL, tiny_config
from emsa_jax.rollout.rollout_options import SamplingOptions
from emsa_jax.settings.job_options import PlanOptions
from emsa_jax.settings.presets import plan_options
from emsa_jax.training import step_functions as grpo_programs
from emsa_jax.training.training_options import GrpoOptions

PROMPT = PromptShape(48, 2, 56, 56, 0.5)


@pytest.fixture
def options(tmp_path, monkeypatch):
    monkeypatch.setattr(Topology, "described", lambda self: jax.devices()[:1])
    config = tiny_config({name: i for i, name in enumerate(SPECIAL)}, 64)
    (tmp_path / "config.json").write_text(json.dumps(to_hf(config)))
    return PlanOptions(
        policy=str(tmp_path),
        topology="h100:1",
        prompt=PROMPT,
        dtype="float32",
        lora=LoraOptions(4, 8.0),
        sampling=SamplingOptions(max_completion_length=12),
        grpo=GrpoOptions(group_size=2, prompts_per_step=4, micro_batches=2, remat="full"),
    )


@pytest.mark.slow
def test_a_runs_programs_are_compiled_and_summed_up(options, capsys):
    with (
        mock.patch.object(grpo_programs, "grpo_update", wraps=grpo_programs.grpo_update) as update,
        mock.patch.object(grpo_programs, "sample", wraps=grpo_programs.sample) as sample,
    ):
        found = plan(replace(options, compile="all"))
    lines = capsys.readouterr().out.splitlines()
    assert json.loads(lines[-1]) == found
    assert update.called and sample.call_count >= 3  # draw, prefix, hints
    assert set(found["compile_seconds"]) == {"encode", "prefill", "sample", "prefix", "hint", "reference", "update"}
    assert found["fit"] and found["bytes_there"] == int(0.92 * 84_929_347_584)
    assert found["bytes_needed"] == max(found["phases"].values()) > sum(found["held"].values())
    assert found["token_loop"] == {"weights_gathered": 0, "copied": 0, "in_place": True, "collectives": {}}
    assert found["devices"] == 1 and found["step_seconds"]["total"] > 0
    assert sum("= held + temporaries" in line or "= held + prompts" in line for line in lines) == 4
    assert any(line.startswith("fits: ") for line in lines)


def test_what_does_not_fit_is_said_with_the_field_to_change(options, capsys):
    found = plan(replace(options, compile="no"))
    small = replace(options, compile="no", grpo=replace(options.grpo, micro_batches=1, remat="none"))
    between = (found["phases"]["update"] + plan(small)["phases"]["update"]) // 2
    with mock.patch.dict(CHIPS, {"h100": replace(CHIPS["h100"], memory=between)}):
        assert plan(replace(options, compile="no"))["fit"]
        refused = plan(small)
    assert not refused["fit"] and refused["worst"] == "update" and refused["token_loop"] is None
    assert "does not fit: update" in capsys.readouterr().out


@pytest.mark.parametrize(
    "topology, mesh", [("v5e:4x4", (4, 1, 4)), ("2*v5e:16x16", (128, 1, 4)), ("h100:16", (16, 1, 1))]
)
def test_arithmetic_needs_no_compiler_for_the_devices(monkeypatch, topology, mesh):
    monkeypatch.setattr(Topology, "described", None)
    grpo = GrpoOptions(group_size=8, prompts_per_step=512, micro_batches=4, remat="full")
    found = plan(PlanOptions(topology=topology, compile="no", grpo=grpo))
    assert tuple(found["mesh"].values()) == mesh and not found["compile_seconds"]
    assert found["held"]["base"] == pytest.approx(2 * 8.93e9 / mesh[2], rel=0.01)
    # by the platform that is planned for, not the one that plans: TPUs read a stack of layers where it lies
    cache = found["phases"]["decode"] - found["phases"]["prefill"]
    assert (cache > 5e9) == topology.startswith("h100"), found["phases"]


@pytest.mark.parametrize("topology", ["v5e:4x4", "v5p:2x2x1", "h100:1", "h100:8", "h200:1"])
def test_a_run_of_the_papers_preset_fits_as_it_is(topology, capsys):
    found = plan(replace(plan_options("msa_thinker"), topology=topology, compile="no"))
    assert found["fit"] and "\nfits: " in capsys.readouterr().out


def test_what_barely_fits_is_not_promised(options, capsys):
    need = plan(replace(options, compile="no"))["bytes_needed"]
    with mock.patch.dict(CHIPS, {"h100": replace(CHIPS["h100"], memory=int(need * 1.1))}):
        assert plan(replace(options, compile="no"))["fit"]
    assert "may fit: " in capsys.readouterr().out
    with pytest.raises(InputError, match="'papers' is no preset of configs/grpo.py; there are msa_thinker"):
        plan_options("papers")


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"policy": "gpt"}, "neither a directory nor one of qwen2_5_omni_7b, qwen2_5_omni_3b"),
        ({"topology": "v5litepod-16"}, "v5e:4x4"),
    ],
)
def test_bad_input(options, fields, said):
    with pytest.raises(InputError, match=said):
        plan(replace(options, compile="no", **fields))


def test_it_is_a_job_of_the_command_line(monkeypatch):
    asked = []
    monkeypatch.setattr("emsa_jax.jobs.plan.plan", asked.append)
    monkeypatch.setattr("emsa_jax.planning.topologies.compile_without_devices", lambda: asked.append("readied"))
    monkeypatch.setattr(main, "_WORKDIR", mock.Mock(value="runs/plan"))
    monkeypatch.setattr(main, "_PRINT", mock.Mock(value=False))
    monkeypatch.setattr(main, "_CONFIG", mock.Mock(value=to_config_dict(PlanOptions(topology="h200:1"))))
    main.main(["main"])
    assert asked == ["readied", PlanOptions(topology="h200:1")]
