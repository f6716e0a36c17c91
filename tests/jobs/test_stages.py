"""The main job from puppets to export, in one small run."""

import json
import re
import shutil
from dataclasses import fields, replace
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
import transformers
from peft import PeftModel
from transformers import Qwen2_5OmniThinkerForConditionalGeneration as Thinker

from emsa_jax.answers.formats import make_format
from emsa_jax.answers.messages import messages
from emsa_jax.config.edge import pick, results_digest
from emsa_jax.config.fields import has_effect
from emsa_jax.data.pipeline import Clips
from emsa_jax.data.records import read_index, read_manifest
from emsa_jax.jobs.evaluate import EvaluateSettings
from emsa_jax.jobs.export import ExportSettings
from emsa_jax.manifest import verify
from emsa_jax.policy import peft
from emsa_jax.policy.checkpoint import open_checkpoint
from emsa_jax.policy.inputs import build_inputs
from emsa_jax.policy.thinker import logits
from emsa_jax.policy.tokenizer import render_chat
from emsa_jax.policy.trained_for import TrainedFor, read_trained_for
from emsa_jax.rollout.answering import answer
from emsa_jax.rollout.prompts import Prompter
from emsa_jax.rollout.rollout_options import HintOptions, PromptOptions, SamplingOptions
from emsa_jax.rollout.sampler import EVALUATION
from emsa_jax.settings.config import Config
from emsa_jax.training.stage_settings import GrpoSettings, SftSettings, TrainSettings

transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

PAIRS = [(policy, role) for policy in ("zero_shot", "sft", "grpo") for role in ("train", "cross")]
TRL = (
    "loss",
    "grad_norm",
    "learning_rate",
    "num_tokens",
    "reward",
    "reward_std",
    "frac_reward_zero_std",
    "kl",
    "entropy",
    "clip_ratio/region_mean",
    "clip_ratio/low_mean",
    "clip_ratio/low_min",
    "clip_ratio/high_mean",
    "clip_ratio/high_max",
    "completions/mean_length",
    "completions/min_length",
    "completions/max_length",
    "completions/clipped_ratio",
    "completions/mean_terminated_length",
    "rewards/format/mean",
    "rewards/format/std",
    "rewards/letters/mean",
)
HINTS = (
    "hint/trigger_rate",
    "hint/rescued_rate",
    "hint/reward_gain",
    "hint/extra_gen_time",
    "hint/contradict_rate",
    "hint/ppl_ratio",
    "hint/prefix_logp",
)


def rows_of(mini, stage):
    rows = [json.loads(line) for line in (mini.workdir / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["stage"] == stage]


def test_every_file_is_there(mini):
    names = set(mini.files())
    expected = {"config.json", "versions.json", "metrics.jsonl", "stages.json", "summary.md", "summary.json"}
    expected |= {
        f"evaluate/{policy}/{role}/{file}" for policy, role in PAIRS for file in ("predictions.jsonl", "metrics.json")
    }
    expected |= {"report.html", "citations.bib"}
    expected |= {f"grpo/completions/completions_{step:05d}.jsonl" for step in (1, 2, 3)}
    expected |= {
        f"export/{kind}/{file}"
        for kind in ("merged", "base")
        for file in ("config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json", "README.md")
    }
    expected |= {
        f"export/adapter/{file}" for file in ("adapter_config.json", "adapter_model.safetensors", "MANIFEST.json")
    }
    expected |= {f"export/{kind}/processor_config.json" for kind in ("merged", "base")}
    assert expected <= names
    for stage in ("sft", "grpo"):
        assert any(name.startswith(f"tensorboard/{stage}/events") for name in names)
    assert not [name for name in names if ".tmp" in name or ".part" in name or "unfinished" in name]
    assert all(verify(mini.workdir / "export" / kind) == [] for kind in ("merged", "base", "adapter"))
    assert json.loads((mini.workdir / "config.json").read_text())["grpo"]["max_steps"] == 3


def test_policies_say_what_they_were_trained_for(mini):
    """Every stage's, and every export's; not one that has learned nothing."""
    found = [read_trained_for(mini.workdir / name) for name in ("sft/policy", "grpo/adapter")]
    found += [read_trained_for(mini.workdir / "export" / name) for name in ("merged", "adapter", "base")]
    assert set(found) == {
        TrainedFor(format="dc", score_range=(-3.0, 3.0), language="en", num_frames=4, max_pixels=100352)
    }
    assert read_trained_for(mini.workdir / "policy") is None


@pytest.mark.parametrize("kind", ["merged", "adapter"])
def test_a_card_says_how_to_begin(mini, kind, monkeypatch, capsys):
    """Its code runs as it stands, on fewer tokens, and asks with the words that this project asks with."""
    card = (mini.workdir / "export" / kind / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)\n```", card, re.DOTALL)
    monkeypatch.chdir(mini.workdir / "export" / ("merged" if kind == "merged" else ""))
    found = {}
    exec(code.replace("max_new_tokens=512", "max_new_tokens=4"), found)
    assert isinstance(found["model"], PeftModel) is (kind == "adapter")
    asked = messages(make_format("dc", (-3.0, 3.0)), "I thought it would be better.", "en", False, False)
    ours = open_checkpoint(mini.workdir / "export/base", weights=False)
    ids = ours.tokenizer.encode(render_chat(ours.tokenizer, ours.config, asked), add_special_tokens=False)
    assert found["asked"]["input_ids"][0].tolist() == list(getattr(ids, "ids", ids))
    assert card.count("\n## ") == 9 and "## Intended use and limits" in card


def test_metrics_have_the_usual_names(mini):
    assert [row["step"] for row in rows_of(mini, "sft")] == [1, 2, 3, 4]
    rows = rows_of(mini, "grpo")
    assert [row["step"] for row in rows] == [1, 2, 3]
    seen = set().union(*rows)
    assert set(TRL) <= seen and set(HINTS) <= seen
    assert max(row["sampling/logp_difference_max"] for row in rows) < 1e-4  # hinted tokens included
    # the run is one in which something happens: rewards differ, some groups are hard and not all, the policy moves
    assert all(row["reward_std"] > 0 and row["grad_norm"] > 1e-3 for row in rows)
    assert 0 < sum(row["hint/trigger_rate"] for row in rows) < len(rows)
    assert rows[-1]["kl"] > 0
    assert all(row["step_time"] > row["data_time"] >= 0 for row in rows)


def test_every_step_tells_where_its_time_went(mini):
    rows = rows_of(mini, "grpo")
    for row in rows:
        spent = {name: value for name, value in row.items() if name.startswith("time/")}
        assert {
            f"time/{name}" for name in ("encode", "prefill", "decode", "hint", "reward", "reference", "update", "other")
        } == spent.keys()
        assert all(value >= 0 for value in spent.values()) and abs(sum(spent.values()) - row["step_time"]) < 1e-6
        assert {"mfu", "mfu/encode", "mfu/prefill", "mfu/decode", "mfu/reference", "mfu/update"} <= row.keys()
        assert all(0 < row[name] < 1 for name in row if name.startswith("mfu"))
        drawn = row["completions/mean_length"] * 16 * (1 if row["hint/trigger_rate"] == 0 else 0)
        assert not drawn or abs(row["decode_tok_s"] * row["time/decode"] - drawn) < 1e-3
        assert 0 <= row["padding/prompt"] < 1 and row["compilations"] == 0 and row["peak_gb"] > 0.1
        assert abs(row["padding/completion"] - 1 + row["completions/mean_length"] / 80) < 1e-6


def test_every_clip_has_a_prediction(mini):
    for policy, role in PAIRS:
        directory = mini.workdir / "evaluate" / policy / role
        rows = [json.loads(line) for line in (directory / "predictions.jsonl").read_text().splitlines()]
        entries = read_index(mini.workdir / "records" / role, "test")
        assert [row["id"] for row in rows] == [entry.id for entry in entries] and len(rows) == 8
        assert all(isinstance(row["answer"], str) and row["rewards"]["total"] >= 0 for row in rows)
        metrics = json.loads((directory / "metrics.json").read_text())
        assert {"metrics", "floor", "rewards", "mean_sampled_reward"} <= metrics.keys()
    summary = (mini.workdir / "summary.md").read_text()
    assert [summary.count(name) for name in ("zero-shot", "after SFT", "after RL")] == [2, 2, 2]
    assert "after RL" in mini.output and "…" not in mini.output  # the table is shown in full


def test_answers_are_kept_and_judged_in_full(mini):
    """One file of answers for each policy, data set and way of drawing; metrics with floors, intervals and checks."""
    asked = sorted((mini.workdir / "evaluate" / "answers").iterdir())
    assert len(asked) == len(PAIRS) * 2  # greedy, and sampled once
    for directory in asked:
        rows = [json.loads(line) for line in (directory / "0of1.jsonl").read_text().splitlines()]
        assert len(rows) == 8 and len({row["id"] for row in rows}) == 8
    found = json.loads((mini.workdir / "evaluate/sft/train/metrics.json").read_text())
    assert found["controls"].keys() == {"constant", "random", "shuffled"} and found["intervals"]["MAE"][0] >= 0
    assert sum(map(sum, found["polarity"]["confusion"])) == found["metrics"]["n"] == found["row"]["n"] == 8
    assert {"agreement", "hardness"} & found["breakdowns"].keys() and "sign_agrees" in found["reasoning"]


def test_the_page_of_the_run(mini):
    page = (mini.workdir / "report.html").read_text()
    for section in ("results", "curves", "confusion", "across", "time", "browse", "made"):
        assert f'id="{section}"' in page
    cases = json.loads(re.search(r'id="cases">(.*?)</script>', page).group(1))
    assert len(cases) == 16 and [answer["who"] for answer in cases[0]["answers"]] == ["after SFT", "after RL"]
    assert page.count('type="application/json" id="media-') == 16 and "data:audio/mpeg" in page
    assert str(mini.workdir) not in page.split('<section id="made"')[0]
    assert 'id="live"' not in page


def test_nothing_is_compiled_after_the_first_step(mini):
    """Cold start and GRPO, hints included; and every program that they call was listed before."""
    marks = mini.marks
    assert [marks.count(f"{stage} update") for stage in ("sft", "grpo")] == [4, 3] and "compile" in marks
    assert any(mark.startswith("grpo hint") for mark in marks)
    last = len(marks) - 1 - marks[::-1].index("grpo save")
    for stage, first, end in (("sft", "sft update", marks.index("sft write")), ("grpo", "grpo encode", last)):
        steps = marks[marks.index(first) : end]
        assert "compile" not in steps, (stage, steps)
    listed = " ".join(line for line in mini.output.splitlines() if line.startswith("compiled "))
    called = {mark.split(" ", 1)[1] for mark in marks if mark.startswith(("sft ", "grpo "))} - {"save", "write"}
    assert not [name for name in called if f" {name}/" not in listed]


def test_memory(mini):
    assert mini.peak < 3 * 10**9


def test_the_same_command_again_does_nothing(mini):
    before = mini.files()
    again = type(mini)(mini.workdir, mini.plugin)
    assert again.run() == 0, again.output
    assert again.output.count("done already") == 3 and "evaluating" not in again.output
    assert again.seconds < mini.seconds / 3
    assert mini.files() == before


def test_another_config_is_refused(mini):
    before = mini.files()
    again = type(mini)(mini.workdir, mini.plugin)
    assert again.run(seed=1) == 2
    assert again.output.count("\n") == 1 and "config.seed = 0, not 1" in again.output
    assert mini.files() == before


def test_what_was_deleted_is_made_again(mini, tmp_path):
    """And nothing else is."""
    copy = mini.copy(tmp_path / "run")
    shutil.rmtree(copy.workdir / "export" / "merged")
    (copy.workdir / "evaluate/sft/cross/predictions.jsonl").unlink()
    assert copy.run() == 0, copy.output
    assert copy.output.count("done already") == 2 and copy.output.count("exported") == 1
    assert (
        copy.output.count("evaluating sft on puppets:zh: all answers are known") == copy.output.count("evaluating") == 1
    )
    kept = ("sft/policy", "grpo/adapter", "evaluate", "export")
    assert copy.files(*kept) == mini.files(*kept)


def test_evaluation_asks_only_what_it_has_not_asked(mini, tmp_path):
    """As after a kill: some answers are there, the last one torn."""
    copy = mini.copy(tmp_path / "run")
    for path in copy.workdir.glob("evaluate/answers/*/*.jsonl"):
        path.write_bytes(path.read_bytes()[: len(b"\n".join(path.read_bytes().split(b"\n")[:5])) + 9])
    (copy.workdir / "evaluate/grpo/train/metrics.json").unlink()
    assert copy.run() == 0, copy.output
    assert "evaluating grpo on puppets:en 6/6" in copy.output  # 3 of 8, greedy and sampled
    assert copy.files("evaluate/grpo") == mini.files("evaluate/grpo")
    whole = [path for path in copy.workdir.glob("evaluate/answers/*/*.jsonl") if path.read_bytes().count(b"\n") == 8]
    assert len(whole) == 2 and all(
        path.read_bytes() == (mini.workdir / path.relative_to(copy.workdir)).read_bytes() for path in whole
    )


@pytest.fixture(scope="module")
def question(mini):
    """(our checkpoint of export/merged, the first test clip's prompt as ours and as transformers takes it)."""
    checkpoint = open_checkpoint(mini.workdir / "export" / "merged")
    records = mini.workdir / "records" / "train"
    format = make_format("dc", read_manifest(records).score_range)
    row = Prompter(checkpoint, format, PromptOptions()).row(Clips(records, "test")[0])
    (video,), (mel,) = row.videos, row.audios
    grid = video.grid
    theirs = {
        "input_ids": np.array([row.tokens]),
        "attention_mask": np.ones((1, len(row.tokens)), np.int64),
        "input_features": mel.T[None],
        "feature_attention_mask": np.ones((1, len(mel)), np.int64),
        "pixel_values_videos": video.patches,
        "video_grid_thw": np.array([[grid.t, grid.h, grid.w]]),
        "video_second_per_grid": np.array([grid.seconds], np.float32),
    }
    return checkpoint, build_inputs(checkpoint.config, [row]), {k: torch.from_numpy(v) for k, v in theirs.items()}


def merged(mini):
    return Thinker.from_pretrained(mini.workdir / "export/merged", dtype=torch.float32, attn_implementation="eager")


def adapted(mini):
    base = Thinker.from_pretrained(mini.workdir / "export/base", dtype=torch.float32, attn_implementation="eager")
    return PeftModel.from_pretrained(base, mini.workdir / "export/adapter")


@pytest.mark.parametrize("load", [merged, adapted])
@torch.no_grad()
def test_transformers_and_peft_give_the_same(mini, question, load):
    """Logits on a prompt with text, video and sound, and the greedy answer that follows."""
    checkpoint, inputs, theirs = question
    params, adapter, config = checkpoint.params, None, checkpoint.config
    if load is adapted:
        params = open_checkpoint(mini.workdir / "export/base").params
        adapter = peft.load_adapter(mini.workdir / "export/adapter", config)
    model = load(mini).eval()
    ours = np.asarray(jax.jit(lambda p, a, i: logits(p, a, config, i))(params, adapter, inputs))
    reference = model(**theirs, use_cache=False).logits.numpy()
    np.testing.assert_allclose(ours, reference, atol=2e-4)
    assert np.abs(reference).max() > 1

    sampling = SamplingOptions(temperature=0.0, max_completion_length=32)
    done = jax.jit(
        lambda p, a, i: answer(
            p,
            a,
            i,
            np.array([0, 0, EVALUATION], np.int32),
            np.zeros(1, np.int32),
            config=config,
            sampling=sampling,
            group_size=1,
        )
    )(params, adapter, inputs)
    tokens = np.asarray(done.tokens[0, 0, : int(done.length[0, 0])])
    out = model.generate(
        **theirs,
        do_sample=False,
        max_new_tokens=32,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        output_logits=True,
        return_dict_in_generate=True,
    )
    best = torch.stack(out.logits)[:, 0].topk(2).values
    assert float((best[:, 0] - best[:, 1]).min()) > 1e-3  # no tie that rounding could break
    assert tokens.tolist() == out.sequences[0, theirs["input_ids"].shape[1] :].tolist()


def test_the_export_is_the_trained_policy(mini):
    """Not the cold start: the adapter in it is GRPO's, and it does something."""
    base, whole = (open_checkpoint(mini.workdir / "export" / kind).params for kind in ("base", "merged"))
    moved = jax.tree.map(lambda a, b: float(np.abs(np.asarray(a) - np.asarray(b)).max()), base, whole)
    assert max(jax.tree.leaves(moved["text"])) > 1e-5 and max(jax.tree.leaves(moved["vision"])) == 0
    trained = Path("grpo/adapter/adapter_model.safetensors")
    assert (mini.workdir / trained).read_bytes() == (mini.workdir / "export/adapter" / trained.name).read_bytes()


@pytest.mark.parametrize("settings", [SftSettings, GrpoSettings, EvaluateSettings, ExportSettings])
def test_what_a_stage_depends_on_is_what_it_is_handed(settings):
    """A field of a stage's settings is without effect where the same field of the config is, and nowhere else."""
    described = {field.name: has_effect(field) for field in fields(Config)}
    if issubclass(settings, TrainSettings):
        described["cross"] = False  # nothing is learned from the other domain
    assert {field.name: has_effect(field) for field in fields(settings)} == {
        field.name: described[field.name] for field in fields(settings)
    }
    config = Config()
    same = replace(config, attention="plain", profile=3, mesh=replace(config.mesh, fsdp=4))
    assert results_digest(pick(settings, same)) == results_digest(pick(settings, config))
    hinted = results_digest(pick(settings, replace(config, hint=HintOptions(mode="off"))))
    assert (hinted != results_digest(pick(settings, config))) == (settings in (GrpoSettings, EvaluateSettings))
    changed = replace(config, dtype="bfloat16")
    assert results_digest(pick(settings, changed)) != results_digest(pick(settings, config))
