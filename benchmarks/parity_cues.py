"""The cases of parity_parts.py about cues: sentence encoders, HuBERT, bridges, XEmoGPT, EmoCue-360."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from goldens import Compared, Goldens, compares, patches
from safetensors.numpy import load_file

from emsa_jax.cues.cue_files import read_cues
from emsa_jax.cues.emocue360 import OFFICIAL, OURS, means, score_clips, vectors_of
from emsa_jax.errors import InputError
from emsa_jax.learning.contrastive import info_nce, masked_frame_loss, order_loss
from emsa_jax.learning.logprobs import token_logprobs
from emsa_jax.learning.masked import masked_mean
from emsa_jax.policy import decoder, hf, parts
from emsa_jax.policy.bert import encode_bert
from emsa_jax.policy.bridges import caption_vectors, clip_vectors, encode_bridge, heads_table, order_logits
from emsa_jax.policy.clip import clip_states
from emsa_jax.policy.hubert import encode_hubert, normalise_waves
from emsa_jax.policy.layers import linear
from emsa_jax.policy.parameter_table import ParamSpec, bridge_table, get
from emsa_jax.policy.sentence_encoder import read_pooled_bert, read_sentence_encoder, sentence_vectors
from emsa_jax.policy.thinker_config import BridgeConfig
from emsa_jax.policy.xemogpt import (
    AUDIO,
    BOTH,
    VISUAL,
    Rows,
    XemogptConfig,
    bridges_table,
    embed_rows,
    hidden_states,
    lay_out,
    media_tokens,
)


@compares("bert_minilm", "bert_labse")
def bert(golden: Goldens) -> Iterator[Compared]:
    """States of BERT's tokens, and the vectors that a sentence encoder makes of them."""
    config, params, pooling = read_pooled_bert(golden.folder)
    ids, mask = golden["in/ids"], golden["in/mask"].astype(bool)
    yield Compared("states", encode_bert(params["bert"], config, ids, mask), golden["out/hidden"], mask)
    yield Compared("vectors", sentence_vectors(params, config, pooling, ids, mask), golden["out/embedding"])


@compares("minilm_real")
def minilm(golden: Goldens) -> Iterator[Compared]:
    """The released all-MiniLM-L6-v2: tokens and vectors."""
    if golden.minilm is None:
        raise InputError("--minilm is not given")
    encoder = read_sentence_encoder(golden.minilm)
    sentences = json.loads((golden.folder / "sentences.json").read_text())
    ids, mask = encoder.tokenize(sentences)
    yield Compared("tokens", ids, golden["out/ids"], exact=True)
    yield Compared("valid tokens", mask.astype(int), golden["out/mask"], exact=True)
    yield Compared("vectors", encoder.embed(sentences), golden["out/embedding"])


@compares("hubert_base", "hubert_large")
def hubert(golden: Goldens) -> Iterator[Compared]:
    """HuBERT: what is fed, states of a padded batch and of a clip alone, under new and old names on disk."""
    waves = [golden["in/wave0"], golden["in/wave1"]]
    values, mask = normalise_waves(waves)
    yield Compared("waveforms", values, golden["in/input_values"])
    yield Compared("valid samples", mask.astype(int), golden["in/mask"], exact=True)
    for folder, names in ((golden.folder, "new names"), (golden.folder / "old_names", "old names")):
        config, params = parts.read_hubert(folder)
        states, valid = encode_hubert(params, config, values, mask)
        yield Compared(f"{names}: valid frames", valid, golden["out/frame_mask"], exact=True)
        yield Compared(f"{names}: states", states, golden["out/hidden"], golden["out/frame_mask"])
        alone, _ = encode_hubert(params, config, *normalise_waves(waves[1:]))
        yield Compared(f"{names}: states of a clip alone", alone[0], golden["out/alone1"])


def _read_tensors(folder: Path, file: str, table: Sequence[ParamSpec]) -> dict:
    """Parameters of a table out of one file, which may hold others."""
    return hf.load_table(folder, table, None, lambda name: True, dict.fromkeys(load_file(folder / file), folder / file))


def _gradients(what: str, golden: Goldens, tag: str, grads: dict, table: Sequence[ParamSpec]) -> Iterator[Compared]:
    """All gradients of a loss at once; those that are zero there have to be exactly zero here."""
    ours, theirs = [], []
    for spec in table:
        stack = get(grads, spec.path)
        for n in range(max(spec.layers, 1)):
            ours.append(np.ravel(stack[n] if spec.layers else stack))
            theirs.append(np.ravel(golden[f"grad/{tag}/{spec.disk.format(n=n)}"]))
    yield Compared(f"{what}, gradients", np.concatenate(ours), np.concatenate(theirs), tolerance=1e-4)
    if still := [(a, b) for a, b in zip(ours, theirs, strict=True) if not b.any()]:
        ours, theirs = (np.concatenate(x) for x in zip(*still, strict=True))
        yield Compared(f"{what}, gradients that are zero", ours, theirs, exact=True)


@compares("bridges")
def bridges(golden: Goldens) -> Iterator[Compared]:
    """VECB and AECB with their heads: states, vectors, losses, gradients of every parameter."""
    raw = json.loads((golden.folder / "config.json").read_text())
    sizes = ("hidden_size", "intermediate_size", "num_attention_heads", "layer_norm_eps")
    for name, positions, text, compare in (("vecb", 16, "v/text", _seeing), ("aecb", 0, "a/text", _hearing)):
        fields = {field: raw[name][field] for field in sizes} | {"output_size": raw["output_dim"]}
        config = BridgeConfig(**fields, positions=positions, text_size=golden[text].shape[1])
        table = [*bridge_table(config), *heads_table(config)]
        yield from compare(golden, config, _read_tensors(golden.folder, f"{name}.safetensors", table), table)


def _seeing(golden: Goldens, config: BridgeConfig, params: dict, table: Sequence[ParamSpec]) -> Iterator[Compared]:
    x, text, order, masked = (golden[f"v/{name}"] for name in ("X", "text", "perm", "frame_mask"))

    def vectors(p, x):
        return clip_vectors(p["heads"], config, encode_bridge(p["bridge"], config, x))

    def pairs(p):
        return info_nce(vectors(p, x), caption_vectors(p["heads"], text), p["heads"]["temperature"])

    def in_order(p):
        return order_loss(*(order_logits(p["heads"], vectors(p, frames)) for frames in (x, x[:, order])))

    def rebuilt(p, token):
        seen = jnp.where(masked[..., None], p["heads"]["mask_token"] if token else 0.0, x)
        states = encode_bridge(p["bridge"], config, seen)
        return masked_frame_loss(linear(states, p["heads"]["frame_reconstructor"]), x, masked)

    states, heads = encode_bridge(params["bridge"], config, x), params["heads"]
    clips, captions = clip_vectors(heads, config, states), caption_vectors(heads, text)
    yield Compared("VECB: states", states, golden["v/H"])
    yield Compared("VECB: vectors", clips, golden["v/z"])
    yield Compared("VECB: captions", captions, golden["v/u"])
    yield Compared("VECB: vectors of shuffled frames", vectors(params, x[:, order]), golden["v/z_shuffled"])
    both = [info_nce(a, b, heads["temperature"]) for a, b in ((clips, captions), (captions, clips))]
    yield Compared("VECB: InfoNCE both ways", sum(both) / 2, golden["loss/v_info_nce_symmetric"])
    # the published order task shuffles after the positions were added: nothing can be told apart
    yield Compared("VECB: order as published, vectors", clips, golden["v/z_shuffled_official"])
    logits = order_logits(heads, clips)
    yield Compared("VECB: order as published", order_loss(logits, logits), golden["loss/order_official"])
    losses = {"v_info_nce": pairs, "order": in_order}
    losses |= {f"mfm_{kind}": functools.partial(rebuilt, token=kind == "token") for kind in ("zero", "token")}
    for name, loss in losses.items():
        value, grads = jax.value_and_grad(loss)(params)
        yield Compared(f"VECB: {name}", value, golden[f"loss/{name}"])
        yield from _gradients(f"VECB: {name}", golden, name, grads, table)


def _hearing(golden: Goldens, config: BridgeConfig, params: dict, table: Sequence[ParamSpec]) -> Iterator[Compared]:
    x, valid, text = (golden[f"a/{name}"] for name in ("X", "valid", "text"))

    def pairs(p):
        clips = clip_vectors(p["heads"], config, encode_bridge(p["bridge"], config, x, valid), valid)
        return info_nce(clips, caption_vectors(p["heads"], text), p["heads"]["temperature"])

    states = encode_bridge(params["bridge"], config, x, valid)
    yield Compared("AECB: states", states, golden["a/H"])
    yield Compared("AECB: vectors", clip_vectors(params["heads"], config, states, valid), golden["a/z"])
    yield Compared("AECB: captions", caption_vectors(params["heads"], text), golden["a/u"])
    value, grads = jax.value_and_grad(pairs)(params)
    yield Compared("AECB: InfoNCE", value, golden["loss/a_info_nce"])
    yield from _gradients("AECB: InfoNCE", golden, "a_info_nce", grads, table)


@compares("xemogpt")
def xemogpt(golden: Goldens) -> Iterator[Compared]:
    """XEmoGPT whole: media tokens, embeddings, logits, loss and gradients of each instruction and of a batch."""
    (eye, see), (ear, hear) = _encoders(golden.folder)
    text, params = hf.load(golden.folder / "qwen3")
    config = XemogptConfig(text, BridgeConfig.after(eye), BridgeConfig.after(ear))
    table = list(bridges_table(config))
    trained, samples = _read_tensors(golden.folder, "bridges.safetensors", table), []
    for asks, kind in ((BOTH, "multimodal"), (VISUAL, "visual"), (AUDIO, "audio")):
        prompt, answer = [golden[f"{kind}/seg{i}"] for i in range(3)], golden[f"{kind}/answer"]
        frames = clip_states(see, None, eye, patches(golden[f"{kind}/pixel_values"], eye.patch_size))[None]
        wave = golden[f"{kind}/input_values"][None]
        sound, valid = encode_hubert(hear, ear, wave, np.ones(wave.shape, bool))
        samples.append((prompt, answer, frames, sound, asks))
        rows = lay_out([prompt], [answer], [sound.shape[1]], frames.shape[1], [asks])
        run = functools.partial(_answer_loss, params, config, rows, frames, sound, valid)
        (loss, (heard, seen, x, logits)), grads = jax.value_and_grad(run, has_aux=True)(trained)
        outputs = (("Z_a", heard[0]), ("Z_v", seen[0]), ("inputs_embeds", x[0]), ("logits", logits[0]), ("loss", loss))
        for name, ours in outputs:
            yield Compared(f"{kind}: {name}", ours, golden[f"{kind}/{name}"])
        yield from _gradients(kind, golden, kind, grads, table)
    prompts, answers, frames, sounds, asks = zip(*samples, strict=True)
    heard = np.array([sound.shape[1] for sound in sounds])
    sound = jnp.concatenate([jnp.pad(x, ((0, 0), (0, max(heard) - x.shape[1]), (0, 0))) for x in sounds])
    rows = lay_out(prompts, answers, heard, frames[0].shape[1], asks)
    media = (jnp.concatenate(frames), sound, np.arange(max(heard)) < heard[:, None])
    run = functools.partial(_answer_loss, params, config, rows, *media)
    (loss, (_, _, _, logits)), grads = jax.value_and_grad(run, has_aux=True)(trained)
    labels = np.where(rows.answer, rows.tokens, -100)
    yield Compared("batch: mask", rows.mask.astype(int), golden["batch/mask"], exact=True)
    yield Compared("batch: labels", labels, golden["batch/labels"], exact=True)
    yield Compared("batch: logits", logits, golden["batch/logits"], rows.mask)
    yield Compared("batch: loss", loss, golden["batch/loss"])
    yield from _gradients("batch", golden, "batch", grads, table)


def _encoders(folder: Path) -> tuple[tuple, tuple]:
    """CLIP and HuBERT, each (config, parameters)."""
    return parts.read_vision_tower(folder / "clip", 1, jax.random.key(0)), parts.read_hubert(folder / "hubert")


def _answer_loss(params: dict, config: XemogptConfig, rows: Rows, frames, sound, valid, trained: dict):
    """(loss, (sound tokens, frame tokens, embeddings, logits)): the mean over all answer tokens of the batch."""
    params = params | trained
    heard, seen = media_tokens(params, config, frames, sound, valid, rows.asks)
    x = embed_rows(params, rows, heard, seen)
    hidden = hidden_states(params, None, config, x, rows.mask)
    head = decoder.head(params["text"])
    logps, _ = token_logprobs(hidden[:, :-1], head, jnp.asarray(rows.tokens)[:, 1:])
    return -masked_mean(logps, jnp.asarray(rows.answer)[:, 1:]), (heard, seen, x, hidden @ head.T)


@compares("emocue360")
def emocue360(golden: Goldens) -> Iterator[Compared]:
    """EmoCue-360 under each way of counting, of every clip and as means."""
    predicted, gold = (read_cues(golden.folder / f"{name}.json", "oracle")[0] for name in ("pred", "gold"))
    cues = json.loads((golden.folder / "cues.json").read_text())
    found = dict(zip(cues, golden["in/embeddings"], strict=True))
    vectors = vectors_of(lambda texts: np.stack([found[text] for text in texts]), predicted, gold)
    ways = {"official": OFFICIAL, "recommended": OURS}
    ways |= {"subtitle_rule": replace(OFFICIAL, drops=OURS.drops), "count_missing": replace(OFFICIAL, gold_clips=True)}
    for way, rule in ways.items():
        scores = score_clips(predicted, gold, vectors, rule)
        for kind, mean in means(scores).items():
            clips, p, r = list(scores[kind]), mean["precision"], mean["recall"]
            where = [clips.index(clip) for clip in golden[f"{way}/{kind}_clips"].tolist()]
            rows = np.array(list(scores[kind].values()))
            yield Compared(f"{way}, {kind}: clips", rows[where], golden[f"{way}/{kind}_per_clip"])
            yield Compared(f"{way}, {kind}: means", [p, r, mean["f1"], 2 * p * r / (p + r)], golden[f"{way}/{kind}"])
