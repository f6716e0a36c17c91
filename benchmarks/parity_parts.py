"""Compares parts of policies (text models, towers, policies joined from them) with recorded outputs of `transformers`.

    python benchmarks/parity_parts.py --oracle DIR [--only A,B] [--minilm DIR]

DIR/index.json names cases, each a folder with a tiny random model as `transformers` saves it and goldens.npz, and says
how far outputs may lie apart. Prints a table of the largest difference of each output; exit code 1 when one is off,
when a case holds an output that nothing was compared with, or when a case is not known here.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import parity_cues  # noqa: F401  its cases are known then
from goldens import KNOWN, Compared, Goldens, Result, compares, patches
from rich.console import Console
from rich.table import Table
from safetensors.numpy import load_file

from emsa_jax.errors import InputError
from emsa_jax.policy import decoder, hf, parts, peft
from emsa_jax.policy.audio import encode_audio, encode_chunks
from emsa_jax.policy.clip import clip_states, encode_clip_text
from emsa_jax.policy.inputs import PromptInputs, build_inputs
from emsa_jax.policy.layers import layer_norm
from emsa_jax.policy.lora import merge
from emsa_jax.policy.parameter_table import init_table, vision_table
from emsa_jax.policy.positions import num_audio_tokens
from emsa_jax.policy.prompt_row import Row, patchify
from emsa_jax.policy.thinker import logits
from emsa_jax.policy.thinker_config import ThinkerConfig, VisionConfig


@functools.partial(jax.jit, static_argnums=2)
def _logits(params, adapter, config: ThinkerConfig, inputs: PromptInputs):
    return logits(params, adapter, config, inputs)


def _rows(ids: np.ndarray, mask: np.ndarray) -> list[list[int]]:
    return [row[keep].tolist() for row, keep in zip(ids, mask.astype(bool), strict=True)]


@compares("text_qwen2", "text_llama", "text_qwen3")
def text(golden: Goldens) -> Iterator[Compared]:
    """A text model: forward, greedy tokens out of the cache, LoRA beside the weights and merged into them."""
    config, params = hf.load(golden.folder)
    mask, rows = golden["in/mask"].astype(bool), _rows(golden["in/ids"], golden["in/mask"])
    inputs = build_inputs(config, [Row(row) for row in rows], pad="right")
    yield Compared("logits", _logits(params, None, config, inputs), golden["out/logits"], mask)
    adapter = peft.load_adapter(golden.folder / "lora", config)
    yield Compared("LoRA, logits", _logits(params, adapter, config, inputs), golden["lora/logits"], mask)
    merged = merge(params, adapter)
    yield Compared("LoRA merged, logits", _logits(merged, None, config, inputs), golden["lora/logits"], mask)
    theirs = golden["gen/new_tokens"]
    drawn, stepwise = greedy(config, params, rows, theirs.shape[1])
    yield Compared("greedy tokens", drawn, theirs, exact=True)
    whole = build_inputs(config, [Row([*row, *new]) for row, new in zip(rows, drawn.tolist(), strict=True)])
    at = slice(-theirs.shape[1] - 1, -1)
    yield Compared("cached steps against a whole forward", stepwise, _logits(params, None, config, whole)[:, at])


def greedy(config: ThinkerConfig, params: dict, rows: list[list[int]], steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Greedy tokens [B, steps] and the logits [B, steps, V] that chose them, one step after the other."""
    tree, inputs = params["text"], build_inputs(config, [Row(row) for row in rows])
    hidden, prompt = decoder.forward(
        tree, None, config.text, tree["embed_tokens"][inputs.tokens], inputs.positions, inputs.mask
    )
    layers, own = (
        decoder.decode_layers(tree, None, prompt),
        decoder.empty_cache(config.text, len(rows), steps, hidden.dtype),
    )
    step = jax.jit(functools.partial(decoder.decode_step, scale=0.0, config=config.text))
    h, found, tokens = hidden[:, -1], [], []
    for t in range(steps):
        found.append(h @ decoder.head(tree).T)
        tokens.append(jnp.argmax(found[-1], -1))
        x = tree["embed_tokens"][tokens[-1]][:, None]
        places = dict(positions=inputs.next_position + t, slot=jnp.int32(t), prompt_mask=inputs.mask)
        h, own = step(tree, layers, x=x, caches=own, **places)
        h = h[:, 0]
    return np.asarray(jnp.stack(tokens, 1)), np.asarray(jnp.stack(found, 1))


def _sound(config: ThinkerConfig, mel: np.ndarray) -> PromptInputs:
    """A prompt of nothing but sound [T, bins]."""
    return build_inputs(config, [Row([config.audio_token_id] * num_audio_tokens(len(mel)), [mel])])


@compares("whisper_encoder")
def whisper(golden: Goldens) -> Iterator[Compared]:
    """Whisper's encoder in Omni's tower: whole, and in chunks with pooling and projection."""
    yield Compared("map of mel bins", parts.mel_map(80), golden["P"])
    last = {kind: jnp.asarray(golden[f"in/proj.{kind}"]) for kind in ("weight", "bias")}
    for bins in (80, 128):
        for folder in (golden.folder, golden.folder / "hub_names"):
            names = f"{bins} bins, {'bare' if folder == golden.folder else 'hub'} names"
            tower, params = parts.read_audio_tower(folder, len(last["bias"]), jax.random.key(0), bins=bins)
            params = params | {"proj": last}
            mel = golden[f"in/mel{bins}_full"].transpose(0, 2, 1)
            states = encode_chunks(params, None, tower, mel, jnp.array([mel.shape[1]]))
            ours = layer_norm(states, params["ln_post"])
            yield Compared(f"{names}: Whisper's own output", ours, golden[f"out/full{bins}"])
            tower = replace(tower, n_window=int(golden.notes["n_window"]))
            config = ThinkerConfig(audio=tower, vision=None)
            x = _sound(config, golden[f"in/mel{bins}"].T)
            states = np.asarray(encode_chunks(params, None, tower, x.mel, x.mel_length))
            used = np.arange(states.shape[1]) < (x.mel_length[:, None] + 1) // 2
            yield Compared(f"{names}: states of chunks", states[used], golden[f"out/hidden{bins}"])
            tokens = encode_audio(params, None, tower, x.mel, x.mel_length, x.audio_pairs)[: (x.tokens >= 0).sum()]
            yield Compared(f"{names}: tokens", tokens, golden[f"out/features{bins}"])


@compares("assembled_thinker")
def assembled(golden: Goldens) -> Iterator[Compared]:
    """A Thinker that `transformers` holds, and the same one joined here from its parts."""
    config, params = hf.load(golden.folder)
    yield from _heard("", golden, config, params)
    llama, encoder = (golden.folder.parent / name for name in ("text_llama", "whisper_encoder"))
    if not (llama.exists() and encoder.exists()):
        return
    tower, audio = parts.read_audio_tower(encoder, config.text.hidden_size, jax.random.key(0), config.audio.n_window)
    last = np.load(encoder / "goldens.npz")
    audio = audio | {"proj": {kind: jnp.asarray(last[f"in/proj.{kind}"]) for kind in ("weight", "bias")}}
    eye = VisionConfig(depth=1, hidden_size=16, num_heads=2, intermediate_size=8, fullatt_block_indexes=(0,))
    eye = replace(eye, out_hidden_size=config.text.hidden_size)
    sees = init_table(list(vision_table(eye)), jax.random.key(1))["vision"]
    fields = {name: value for name, value in golden.notes["config_ids"].items() if name.endswith("_id")}
    media = {
        f"{kind}_token_id": golden.notes["config_ids"][f"{kind}_token_index"] for kind in ("audio", "image", "video")
    }
    joined = parts.join_parts(parts.read_text_model(llama), (tower, audio), (eye, sees), **fields, **media)
    yield from _heard("joined here: ", golden, *joined)


def _heard(who: str, golden: Goldens, config: ThinkerConfig, params: dict) -> Iterator[Compared]:
    ids, mask = golden["text/ids"], golden["text/mask"].astype(bool)
    inputs = build_inputs(config, [Row(row) for row in _rows(ids, mask)])
    yield Compared(f"{who}text, logits", _logits(params, None, config, inputs), golden["text/logits"], mask)
    ids, mask = golden["audio/ids"], golden["audio/mask"].astype(bool)
    sounds = zip(golden["audio/input_features"], golden["audio/feature_mask"].astype(bool), strict=True)
    rows = [Row(row, [mel[:, keep].T]) for row, (mel, keep) in zip(_rows(ids, mask), sounds, strict=True)]
    inputs = build_inputs(config, rows)
    yield Compared(
        f"{who}sound, positions", np.moveaxis(inputs.positions, 0, 2), np.moveaxis(golden["audio/position_ids"], 0, 2),
        mask, exact=True,
    )  # fmt: skip
    media = (inputs.mel, inputs.mel_length, inputs.audio_pairs)
    tokens = np.asarray(encode_audio(params["audio"], None, config.audio, *media))
    tokens = tokens[inputs.media_index[inputs.media_index >= 0]]
    yield Compared(f"{who}sound, tokens", tokens, golden["audio/features"])
    yield Compared(f"{who}sound, logits", _logits(params, None, config, inputs), golden["audio/logits"], mask)


@compares("clip")
def clip(golden: Goldens) -> Iterator[Compared]:
    """CLIP's class token before and after its last norm, its text features, and what its image processor makes."""
    config, params = parts.read_vision_tower(golden.folder, 64, jax.random.key(0))
    states = clip_states(params, None, config, patches(golden["in/pixel_values"], config.patch_size))
    yield Compared("class token", states, golden["out/cls"])
    tensors = load_file(golden.folder / "model.safetensors")
    norm = {kind: tensors[f"vision_model.post_layernorm.{kind}"] for kind in ("weight", "bias")}
    yield Compared("pooled", layer_norm(states, norm, config.layer_norm_eps), golden["out/pooled"])
    texts, weights = parts.read_clip_text(golden.folder)
    for end in (2, 63):
        ours = encode_clip_text(weights, replace(texts, eos_token_id=end), golden["in/ids"], golden["in/mask"])
        yield Compared(f"text, end token {end}", ours, golden[f"out/text_features_eos{end}"])
    policy = ThinkerConfig(vision=config)
    ours = patchify(policy, golden["in/image"][None]).patches
    yield Compared("pixels", ours, patches(golden["out/image_pixels"][None], config.patch_size)[0])


def run_case(name: str, folder: Path, index: dict, minilm: Path | None = None) -> list[Result]:
    """All comparisons of a case, one failed line where it cannot be compared."""
    if name not in KNOWN:
        return [Result(name, "all outputs", "not known")]
    try:
        golden = Goldens(folder, index, minilm)
        results = [compared.result(name, golden.tolerance) for compared in KNOWN[name](golden)]
    except (InputError, OSError, KeyError, ValueError) as error:
        return [Result(name, "all outputs", f"{type(error).__name__}: {error}")]
    return results + [Result(name, array, "not compared") for array in golden.unseen()]


def chosen(cases: Sequence[str], only: str, minilm: Path | None) -> tuple[list[str], list[str]]:
    """(cases to compare, cases to skip)."""
    begins = tuple(filter(None, only.split(",")))
    found = [name for name in cases if not begins or name.startswith(begins)]
    skipped = [name for name in found if name == "minilm_real" and minilm is None]
    return [name for name in found if name not in skipped], skipped


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--oracle", type=Path, required=True)
    parser.add_argument("--only", default="", help="cases whose names begin with one of these, with commas between")
    parser.add_argument("--minilm", type=Path, help="directory of all-MiniLM-L6-v2, for the case minilm_real")
    args = parser.parse_args()
    jax.config.update("jax_default_matmul_precision", "highest")
    try:
        cases = json.loads((args.oracle / "index.json").read_text())["cases"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"error: {args.oracle / 'index.json'}: no readable list of cases ({error})")
        return 1
    names, skipped = chosen(list(cases), args.only, args.minilm)
    if not names and not skipped:
        print(f"error: --only={args.only}: no case begins so; there are {', '.join(cases)}")
        return 1
    results = [result for name in names for result in run_case(name, args.oracle / name, cases[name], args.minilm)]
    table = Table("case", "output", "largest difference", "limit", "")
    for r in results:
        difference = r.difference if isinstance(r.difference, str) else f"{r.difference:.2e}"
        table.add_row(r.case, r.what, difference, f"{r.limit:.2e}", "FAILED" if r.failed else "")
    Console(width=130).print(table)
    if skipped:
        print("skipped, since --minilm is not given:", ", ".join(skipped))
    failed = sum(r.failed for r in results)
    print(f"{len(results)} comparisons, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
