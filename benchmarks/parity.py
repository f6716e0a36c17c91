"""Compares the policy with recorded outputs of `transformers`, case by case.

    python benchmarks/parity.py --oracle DIR

DIR holds tiny random checkpoints and `.npz` cases with inputs and outputs (tower features, positions, logits, greedy
tokens, gradients, log-mel, patches). Prints a table; exit code 1 when a float32 case is off by more than 2e-4, a
gradient by more than 1e-3 of its tensor's largest entry, or a position or a clear greedy token at all.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from emsa_jax.data.mel import log_mel
from emsa_jax.data.resize import resize, smart_resize
from emsa_jax.policy import decoder, hf, peft
from emsa_jax.policy.audio import encode_audio
from emsa_jax.policy.inputs import build_inputs
from emsa_jax.policy.lora import merge
from emsa_jax.policy.parameter_table import get, param_table
from emsa_jax.policy.positions import Grid
from emsa_jax.policy.prompt_row import Row, Visual, patchify
from emsa_jax.policy.thinker import encode, logits
from emsa_jax.policy.vision import encode_vision

TOLERANCE, GRADIENT_TOLERANCE = 2e-4, 1e-3
CASES = (
    "text",
    "audio",
    "audio_lens",
    "image",
    "video",
    "av",
    "av_audio_long",
    "av_audio_short",
    "av_gap",
    "av_batch",
    "mix_left",
    "mix_right",
    "lora_text_av",
    "lora_list_av",
)


@dataclass
class Result:
    case: str
    what: str
    difference: float
    limit: float | None  # None: printed only

    @property
    def failed(self) -> bool:
        return self.limit is not None and not self.difference <= self.limit


def rows_of(config, case) -> tuple[list[Row], str]:
    """The recorded batch as our rows (media dealt out by their placeholders), and the side of its padding."""
    valid = case["in/attention_mask"].astype(bool)
    audios = (
        [
            f[:, m.astype(bool)].T
            for f, m in zip(case["in/input_features"], case["in/feature_attention_mask"], strict=True)
        ]
        if "in/input_features" in case
        else []
    )
    visuals = {}
    for kind, pixels, grid in (
        ("image", "in/pixel_values", "in/image_grid_thw"),
        ("video", "in/pixel_values_videos", "in/video_grid_thw"),
    ):
        visuals[kind], start = [], 0
        for i, (t, h, w) in enumerate(case[grid] if grid in case else []):
            seconds = float(case["in/video_second_per_grid"][i]) if kind == "video" else 1.0
            visuals[kind].append(
                Visual(case[pixels][start : start + t * h * w], Grid(int(t), int(h), int(w), seconds, kind == "video"))
            )
            start += t * h * w
    together = bool(case["in/use_audio_in_video"]) if "in/use_audio_in_video" in case else False
    starts = {"audio": config.audio_start_token_id, "image": config.image_token_id, "video": config.video_token_id}
    rows = []
    for ids, mask in zip(case["in/input_ids"], valid, strict=True):
        tokens = ids[mask].tolist()
        row = Row(tokens, audio_in_video=together)
        for _ in range(tokens.count(starts["audio"])):
            row.audios.append(audios.pop(0))
        for kind, into in (("image", row.images), ("video", row.videos)):
            while sum(v.grid.num_tokens(config) for v in into) < tokens.count(starts[kind]):
                into.append(visuals[kind].pop(0))
        rows.append(row)
    return rows, "right" if not valid[:, -1].all() else "left"


@functools.partial(jax.jit, static_argnums=2)
def _logits(params, adapter, config, inputs):
    return logits(params, adapter, config, inputs)


def forward_case(name, config, params, adapter, case) -> list[Result]:
    rows, pad = rows_of(config, case)
    inputs = build_inputs(config, rows, pad=pad)
    valid = case["in/attention_mask"].astype(bool)
    off = np.abs(inputs.positions - case["out/position_ids"][-3:])[:, valid].max()
    found = [Result(name, "positions", float(off), 0)]
    tables = {
        "audio": lambda: encode_audio(
            params["audio"], adapter, config.audio, inputs.mel, inputs.mel_length, inputs.audio_pairs
        ),
        "vision": lambda: encode_vision(
            params["vision"], adapter, config.vision, inputs.patches, inputs.patch_hw, inputs.frame, inputs.window
        ),
    }
    ids, offset = inputs.tokens, len(inputs.audio_pairs)
    for kind, token, tower, shift in (
        ("audio", config.audio_token_id, "audio", 0),
        ("image", config.image_token_id, "vision", offset),
        ("video", config.video_token_id, "vision", offset),
    ):
        if f"out/{kind}_features" in case:
            ours = np.asarray(tables[tower]())[inputs.media_index[ids == token] - shift]
            gap = float(np.abs(ours - case[f"out/{kind}_features"]).max())
            found.append(Result(name, f"{kind} tower", gap, TOLERANCE))
    ours = np.asarray(_logits(params, adapter, config, inputs))
    found.append(Result(name, "logits", float(np.abs(ours - case["out/logits"])[valid].max()), TOLERANCE))
    if "gen/new_tokens" in case:
        found += greedy_case(name, config, params, adapter, inputs, case)
    return found


def greedy_case(name, config, params, adapter, inputs, case) -> list[Result]:
    """Prefill, then cached decoding fed with the recorded tokens: logits at each step, and the clear greedy choices."""
    text, steps = params["text"], case["gen/new_tokens"].shape[1]
    hidden, prompt = decoder.forward(
        text, adapter, config.text, encode(params, adapter, config, inputs), inputs.positions, inputs.mask
    )
    own = decoder.empty_cache(config.text, len(inputs.tokens), steps, hidden.dtype)
    layers, scale = decoder.decode_layers(text, adapter, prompt), adapter.scale if adapter else 0.0
    step = jax.jit(functools.partial(decoder.decode_step, scale=scale, config=config.text))
    last = inputs.mask.shape[1] - 1 - np.argmax(inputs.mask[:, ::-1], axis=1)
    h, ours = hidden[np.arange(len(last)), last], []
    for t in range(steps):
        ours.append(np.asarray(h @ decoder.head(text).T, np.float32))
        x = text["embed_tokens"][case["gen/new_tokens"][:, t]][:, None]
        h, own = step(
            text,
            layers,
            x=x,
            positions=inputs.next_position + t,
            slot=jnp.int32(t),
            prompt_mask=inputs.mask,
            caches=own,
        )
        h = h[:, 0]
    ours, theirs = np.stack(ours, 1), case["gen/logits"]
    difference = float(np.abs(ours - theirs).max())
    two = np.sort(theirs, -1)[..., -2:]
    clear = two[..., 1] - two[..., 0] > 10 * max(difference, TOLERANCE / 10)
    wrong = (ours.argmax(-1) != case["gen/new_tokens"]) & clear
    return [
        Result(name, f"cached decoding, {steps} tokens", difference, TOLERANCE),
        Result(name, f"greedy tokens wrong ({int(clear.sum())} clear)", float(wrong.sum()), 0),
    ]


def gradient_case(name, config, params, case) -> list[Result]:
    rows, pad = rows_of(config, case)
    inputs = build_inputs(config, rows, pad=pad)
    labels = case["in/labels"][:, 1:]

    @jax.jit
    def loss_fn(params):
        logp = jax.nn.log_softmax(logits(params, None, config, inputs)[:, :-1])
        picked = jnp.take_along_axis(logp, jnp.maximum(labels, 0)[..., None], -1)[..., 0]
        return -jnp.sum(jnp.where(labels >= 0, picked, 0)) / (labels >= 0).sum()

    loss, grads = jax.value_and_grad(loss_fn)(params)
    worst = 0.0
    for spec in param_table(config):
        ours = np.asarray(get(grads, spec.path))
        for n in range(max(spec.layers, 1)):
            theirs = case.get("grad/" + spec.disk.format(n=n))
            if theirs is not None:
                scale = max(float(np.abs(theirs).max()), 1e-6)
                worst = max(worst, float(np.abs((ours[n] if spec.layers else ours) - theirs).max()) / scale)
    return [
        Result(name, "loss", abs(float(loss) - float(case["out/loss"])), TOLERANCE),
        Result(name, "gradients, relative", worst, GRADIENT_TOLERANCE),
    ]


def prep_cases(config, oracle: Path) -> list[Result]:
    found = []
    if (oracle / "prep_audio.npz").exists():
        case = np.load(oracle / "prep_audio.npz")
        for i in range(sum(k.endswith("/waveform") for k in case.files)):
            n = int(case[f"a{i}/n_valid"])
            ours = log_mel(case[f"a{i}/waveform"]).T
            theirs = case[f"a{i}/input_features_valid_plus3"][:, :n]
            gap = float(np.abs(ours - theirs).max()) if ours.shape == theirs.shape else np.inf
            found.append(Result(f"prep_audio {i}", "log-mel", gap, TOLERANCE))
    if (oracle / "prep_vision.npz").exists():
        case = np.load(oracle / "prep_vision.npz")
        for i in range(sum(k.endswith("/uint8_hwc") for k in case.files)):
            image = case[f"img{i}/uint8_hwc"]
            size = smart_resize(*image.shape[:2], min_pixels=56 * 56, max_pixels=28 * 28 * 12)
            ours = patchify(config, resize(image, *size)[None], is_video=False).patches
            gap = float(np.abs(ours - case[f"img{i}/pil_pixel_values"]).max())
            found.append(Result(f"prep_vision image {i}", "patches", gap, TOLERANCE))
        for name, low, high in (("default_image", 3136, 12845056), ("video", 128 * 784, 768 * 784)):
            sizes = case["smart_resize/in_hw"]
            ours = np.array([smart_resize(h, w, min_pixels=low, max_pixels=high) for h, w in sizes])
            found.append(
                Result(
                    "prep_vision", f"smart resize, {name}", float(np.abs(ours - case[f"smart_resize/{name}"]).max()), 0
                )
            )
        if "vid_noresize/uint8_thwc" in case:
            ours = patchify(config, case["vid_noresize/uint8_thwc"]).patches
            gap = float(np.abs(ours - case["vid_noresize/pixel_values_videos"]).max())
            found.append(Result("prep_vision video", "patches", gap, TOLERANCE))
    return found


def bf16_case(oracle: Path, case) -> list[Result]:
    found = []
    for dtype, key in (("float32", "out/logits_bf16ckpt_f32math"), ("bfloat16", "out/logits_bf16ckpt_bf16math")):
        config, params = hf.load(oracle / "ckpt_thinker_bf16", jnp.dtype(dtype))
        rows, pad = rows_of(config, case)
        ours = np.asarray(_logits(params, None, config, build_inputs(config, rows, pad=pad)))
        valid = case["in/attention_mask"].astype(bool)
        limit = TOLERANCE if dtype == "float32" else None
        gap = float(np.abs(ours - case[key])[valid].max())
        found.append(Result("bf16_av", f"logits, {dtype} arithmetic", gap, limit))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--oracle", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="also write the table as JSON")
    args = parser.parse_args()
    oracle = args.oracle
    config, params = hf.load(oracle / "ckpt_thinker")
    results, absent = [], []
    for name in CASES:
        path = oracle / f"case_{name}.npz"
        if not path.exists():
            absent.append(path.name)
            continue
        case = dict(np.load(path))
        if not name.startswith("lora"):
            results += forward_case(name, config, params, None, case)
            continue
        adapter = peft.load_adapter(oracle / name.removesuffix("_av"), config)
        results += forward_case(f"{name}, unmerged", config, params, adapter, case)
        results += forward_case(f"{name}, merged", config, merge(params, adapter), None, case)
    for name in ("grad_av", "grad_mix"):
        path = oracle / f"case_{name}.npz"
        if path.exists():
            results += gradient_case(name, config, params, dict(np.load(path)))
        else:
            absent.append(path.name)
    for directory, name in (("ckpt_full_sharded", "av"), ("ckpt_lora_text_merged", "lora_text_av")):
        if (oracle / directory).exists():
            results += forward_case(
                f"{name} from {directory}",
                *hf.load(oracle / directory),
                None,
                dict(np.load(oracle / f"case_{name}.npz")),
            )
        else:
            absent.append(directory)
    if (oracle / "case_bf16_av.npz").exists():
        results += bf16_case(oracle, dict(np.load(oracle / "case_bf16_av.npz")))
    results += prep_cases(config, oracle)
    absent += [n for n in ("prep_audio.npz", "prep_vision.npz", "proc_av.npz") if not (oracle / n).exists()]

    table = Table("case", "what", "largest difference", "limit", "")
    for r in results:
        table.add_row(
            r.case,
            r.what,
            f"{r.difference:.2e}",
            "-" if r.limit is None else f"{r.limit:g}",
            "FAILED" if r.failed else "",
        )
    Console(width=110).print(table)
    if absent:
        print("absent, not compared:", ", ".join(absent))
    failed = sum(r.failed for r in results)
    print(f"{len(results)} comparisons, {failed} failed")
    if args.out:
        args.out.write_text(json.dumps([vars(r) for r in results], indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
