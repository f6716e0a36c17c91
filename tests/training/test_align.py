"""Projectors are aligned, and nothing else is; what is trained whole after it comes out as PEFT reads it."""

import json
import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.numpy import load_file
from transformers import Qwen2_5OmniThinkerForConditionalGeneration as Thinker

from emsa_jax.data.pipeline import Clips
from emsa_jax.data.records import read_index
from emsa_jax.data.records.records_manifest import _digest
from emsa_jax.errors import InputError
from emsa_jax.jobs.stages import run_stages
from emsa_jax.learning.ridge import RidgeSums
from emsa_jax.manifest import sha256_file
from emsa_jax.policy import peft
from emsa_jax.policy.checkpoint import open_checkpoint
from emsa_jax.policy.hf import save
from emsa_jax.policy.inputs import build_inputs
from emsa_jax.policy.parameter_table import init_table, vision_table
from emsa_jax.policy.thinker import logits, projector_features, tower_states
from emsa_jax.policy.thinker_config import ClipConfig
from emsa_jax.rollout.prompts import Prompter
from emsa_jax.rollout.rollout_options import EncodingOptions, PromptOptions
from emsa_jax.runtime.run import open_run
from emsa_jax.settings.old_fields import read_config
from emsa_jax.training.align_closed import solved

LAST = {"audio": "audio_tower.proj", "vision": "visual.merger.mlp.2"}
WORDS = {"Negative": "angry", "Neutral": "calm", "Positive": "happy"}
RIDGE = 0.05


@pytest.fixture(scope="module")
def aligned(mini, tmp_path_factory):
    """(name, stages, fields of align, other fields) -> the work directory of a run on the records of `mini`."""
    root = tmp_path_factory.mktemp("align")

    def make(name, stages=("align",), align=None, records=None, **fields):
        job = mini.copy(root / name, *(("policy", "puppets") if records else ("policy", "puppets", "records")))
        if records:
            records(mini.workdir / "records", job.workdir / "records")
        config = read_config(json.loads((mini.workdir / "config.json").read_text()))
        options = replace(config.align, towers=("audio", "vision"), ridge=RIDGE, batch_size=8, words=WORDS)
        fields = {"reward": replace(config.reward, plugins=())} | fields
        config = replace(config, stages=stages, align=replace(options, **align or {}), **fields)
        with open_run(job.workdir, config) as run:
            run_stages(run, config)
        return job.workdir

    return make


@pytest.fixture(scope="module")
def closed(aligned):
    return aligned("closed")


def two_updates(config):
    """The cold start of an adapter, as short as it can be."""
    optimizer = replace(config.sft.optimizer, warmup=0.0)
    return replace(config.sft, trainable="lora", max_steps=2, eval_every=2, optimizer=optimizer)


def tensors(directory):
    return load_file(directory / "model.safetensors")


def assert_only_projectors_moved(before, after, moved):
    assert before.keys() == after.keys()
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == set(moved)


@pytest.mark.parametrize("ridge", [1e-300, 0.01])
@pytest.mark.parametrize("tokens", [np.zeros((5, 3)), np.full((5, 3), 0.1), np.full((5, 3), np.nan)])
def test_clips_that_are_all_the_same_are_not_fitted(tokens, ridge):
    sums = RidgeSums.of(tokens, np.arange(10.0).reshape(5, 2), np.ones(5))
    with pytest.raises(InputError, match="tokens of the audio tower cannot be fitted: they are the same for all clips"):
        solved(sums, "audio", ridge)


def test_the_closed_form_is_what_least_squares_gives(closed):
    """One clip at a time, in another formulation: least squares with the penalty as further rows."""
    checkpoint = open_checkpoint(closed / "policy")
    config, params, records = checkpoint.config, checkpoint.params, closed / "records" / "train"
    encode = jax.jit(lambda p, x: projector_features(p, None, tower_states(p, None, config, x)))
    prompter, clips = (
        Prompter(checkpoint, _Silent(), PromptOptions(modalities=("audio", "video"))),
        Clips(records, "train"),
    )
    entries = read_index(records, "train")
    words = [WORDS["Neutral" if e.score == 0 else "Positive" if e.score > 0 else "Negative"] for e in entries]
    table, rows = np.asarray(params["text"]["embed_tokens"], np.float64), {tower: [] for tower in LAST}
    for clip, word in zip(clips, words, strict=True):
        found = encode(params, build_inputs(config, [prompter.row(clip)]))
        ids = checkpoint.tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
        for tower, x in found.items():
            x = np.asarray(x, np.float64)
            x = x[: sum(prompter.row(clip).tokens.count(i) for i in _placeholders(config, tower))]
            weight = 1 / (len(x) * words.count(word))
            rows[tower].append((x, np.repeat(table[ids].mean(0)[None], len(x), 0), np.full(len(x), weight)))
    ours = tensors(closed / "align" / "policy")
    for tower, name in LAST.items():
        x, y, w = (np.concatenate(part) for part in zip(*rows[tower], strict=True))
        w = w / w.sum()
        mean_x, mean_y = w @ x, w @ y
        penalty = np.sqrt(RIDGE * (w @ (x - mean_x) ** 2).mean())
        left = np.concatenate([np.sqrt(w)[:, None] * (x - mean_x), penalty * np.eye(x.shape[1])])
        right = np.concatenate([np.sqrt(w)[:, None] * (y - mean_y), np.zeros((x.shape[1], y.shape[1]))])
        theirs = np.linalg.lstsq(left, right, rcond=None)[0].T
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours[f"{name}.weight"], theirs, rtol=0, atol=2e-4 * scale)
        bias = mean_y - theirs @ mean_x
        np.testing.assert_allclose(ours[f"{name}.bias"], bias, rtol=0, atol=2e-4 * np.abs(bias).max())


class _Silent:
    """A format that asks nothing."""

    def ask(self, modalities, language):
        return ""


def _placeholders(config, tower):
    return (config.audio_token_id,) if tower == "audio" else (config.image_token_id, config.video_token_id)


def test_all_but_the_projectors_stays(closed):
    moved = [f"{name}.{kind}" for name in LAST.values() for kind in ("weight", "bias")]
    assert_only_projectors_moved(tensors(closed / "policy"), tensors(closed / "align" / "policy"), moved)
    (row,) = [json.loads(line) for line in (closed / "metrics.jsonl").read_text().splitlines()]
    assert row["stage"] == "align" and row["audio/nearest"] > 0.5 and 0 < row["audio/explained"] <= 1
    assert row["audio/norm"] < row["audio/norm_before"]


def test_clips_projector_is_aligned_and_nothing_else(closed, aligned, tmp_path):
    """A policy with CLIP in place of its own vision tower, in our layout."""
    base = open_checkpoint(closed / "policy")
    tower = ClipConfig(32, 48, num_hidden_layers=1, num_attention_heads=2, image_size=28)
    tower = replace(tower, out_hidden_size=base.config.text.hidden_size)
    config = replace(base.config, vision=tower)
    params = base.params | {"vision": init_table(vision_table(tower), jax.random.key(1))["vision"]}
    (tmp_path / "companions").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(closed / "policy" / name, tmp_path / "companions")
    save(tmp_path / "clip", config, params, source=tmp_path / "companions")
    run = aligned("clip", policy=str(tmp_path / "clip"), align={"towers": ("vision",)})
    before, after = tensors(tmp_path / "clip"), tensors(run / "align" / "policy")
    assert_only_projectors_moved(before, after, ["visual.proj.weight", "visual.proj.bias"])
    (row,) = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert row["vision/nearest"] > 0.4 and row["vision/norm"] < row["vision/norm_before"]


def relabelled(source, target):
    """Records whose clips of other splits than train have the opposite labels."""
    for path in source.rglob("*"):
        if path.is_file():
            (target / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            (target / path.relative_to(source)).write_bytes(path.read_bytes())
    directory = target / "train"
    lines = [json.loads(line) for line in (directory / "index.jsonl").read_text().splitlines()]
    changed = [line | {"score": -line["score"], "text": "x"} if line["split"] != "train" else line for line in lines]
    assert changed != lines
    (directory / "index.jsonl").write_text("".join(json.dumps(line) + "\n" for line in changed))
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["hashes"]["index.jsonl"] = sha256_file(directory / "index.jsonl")
    manifest["digest"] = _digest(manifest["hashes"])
    (directory / "manifest.json").write_text(json.dumps(manifest))


def test_labels_of_other_splits_change_nothing(aligned, closed):
    other = aligned("relabelled", records=relabelled)
    ours, theirs = (tensors(run / "align" / "policy") for run in (closed, other))
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_by_gradient_the_loss_falls_and_all_else_stays(aligned):
    options = dict(method="gradient", targets="captions", max_steps=12, learning_rate=3e-3, towers=("audio",))
    run = aligned("gradient", align=options)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows]
    assert len(losses) == 12 and np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.02
    moved = ["audio_tower.proj.weight", "audio_tower.proj.bias"]
    assert_only_projectors_moved(tensors(run / "policy"), tensors(run / "align" / "policy"), moved)


def test_what_follows_alignment_begins_there_and_peft_reads_it(mini, aligned):
    """The cold start trains LoRA with a projector whole; base and adapter give the same logits in PEFT."""
    config = read_config(json.loads((mini.workdir / "config.json").read_text()))
    run = aligned(
        "cold",
        stages=("align", "sft", "export"),
        lora=replace(config.lora, targets=("q_proj", "audio.fc1"), also=("audio.proj", "vision.merger_norm")),
        sft=two_updates(config),
    )
    aligned_base, base = tensors(run / "align" / "policy"), tensors(run / "export" / "base")
    assert all(np.array_equal(aligned_base[name], base[name]) for name in base)
    checkpoint = open_checkpoint(run / "export" / "base")
    adapter = peft.load_adapter(run / "export" / "adapter", checkpoint.config)
    weight = np.asarray(adapter.whole["audio"]["proj"]["weight"])
    assert np.abs(weight - base["audio_tower.proj.weight"]).max() > 1e-5
    row = Prompter(checkpoint, _Silent(), PromptOptions()).row(Clips(run / "records" / "train", "test")[0])
    (video,), (mel,) = row.videos, row.audios
    theirs = {
        "input_ids": np.array([row.tokens]),
        "attention_mask": np.ones((1, len(row.tokens)), np.int64),
        "input_features": mel.T[None],
        "feature_attention_mask": np.ones((1, len(mel)), np.int64),
        "pixel_values_videos": video.patches,
        "video_grid_thw": np.array([[video.grid.t, video.grid.h, video.grid.w]]),
        "video_second_per_grid": np.array([video.grid.seconds], np.float32),
    }
    model = Thinker.from_pretrained(run / "export/base", dtype=torch.float32, attn_implementation="eager")
    model = PeftModel.from_pretrained(model, run / "export/adapter").eval()
    merged = Thinker.from_pretrained(run / "export/merged", dtype=torch.float32, attn_implementation="eager").eval()
    inputs = build_inputs(checkpoint.config, [row])
    ours = np.asarray(jax.jit(lambda p, a, i: logits(p, a, checkpoint.config, i))(checkpoint.params, adapter, inputs))
    for other in (model, merged):
        with torch.no_grad():
            reference = other(**{k: torch.from_numpy(v) for k, v in theirs.items()}, use_cache=False).logits.numpy()
        np.testing.assert_allclose(ours, reference, atol=2e-4)


def test_kept_encodings_change_nothing(mini, aligned):
    """The cold start with its own encodings, with those of another run, and without any: the same to the bit."""
    config = read_config(json.loads((mini.workdir / "config.json").read_text()))
    lora = replace(config.lora, targets=("q_proj", "vision.merger_in"), also=("audio.proj",))
    fields = {"stages": ("sft",), "sft": two_updates(config), "lora": lora}
    first = aligned("kept", **fields)
    written = {path: path.stat().st_mtime_ns for path in (first / "encodings").glob("*/*")}
    assert written
    shared = aligned("shared", encodings=EncodingOptions(path=str(first / "encodings")), **fields)
    assert {path.name for path in (first / "encodings").glob("*/*")} == {path.name for path in written}
    none = aligned("none", encodings=EncodingOptions(max_gb=0.0), **fields)
    assert not (none / "encodings").exists() and not (shared / "encodings").exists()
    ours, *others = [(run / "sft/adapter/adapter_model.safetensors").read_bytes() for run in (first, shared, none)]
    assert others == [ours, ours]


def test_an_adapter_over_the_policy_is_refused(mini):
    config = read_config(json.loads((mini.workdir / "config.json").read_text()))
    with pytest.raises(InputError, match="adapter: the stage align changes the policy"):
        replace(config, stages=("align",), adapter="somewhere")
