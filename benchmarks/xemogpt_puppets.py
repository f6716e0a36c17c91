"""Do cue bridges find a puppet's own caption, and better than a linear map of the frozen features?

    python benchmarks/xemogpt_puppets.py --work DIR [--minilm DIR] [--clips 768] [--seeds 0,1,2] [--epochs 60]

Annotated puppets are drawn once; captions say what is drawn of face and voice. The frozen encoders are small and random
(a CLIP and a HuBERT of transformers' classes), captions go through all-MiniLM-L6-v2. VECB and AECB are trained by
stages 1 and 2, a linear map of the mean feature by the same loss, batches and number of updates; seeds are theirs.
R@1 is that of 32 test clips with different captions, a mean over 200 draws. The same command goes on where it stopped;
the table is DIR/table.md.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from emsa_jax.data.pairs import Pair
from emsa_jax.data.puppets import ConceptWorld, make_concept_puppets
from emsa_jax.data.puppets.concept_world import draw_concept_world
from emsa_jax.learning.contrastive import cosines, info_nce
from emsa_jax.learning.learning_options import OptimizerOptions
from emsa_jax.learning.optimizer import build_optimizer
from emsa_jax.policy.bridges import caption_vectors, clip_vectors, encode_bridge
from emsa_jax.training.bridge_features import PairFeatures, bridge_config, encode_pairs
from emsa_jax.training.bridge_options import BridgesOptions
from emsa_jax.training.bridges import fresh_bridge, train_bridge

AMONG, DRAWS = 32, 200
KINDS = {"vecb": "frames", "aecb": "sound"}


def word(value: float, edges: tuple[float, ...], words: str) -> str:
    """The word for a value: below all edges, between two, above."""
    return words.split("|")[int(np.searchsorted(edges, value))]


def caption_of(puppet, kind: str) -> str:
    """What is drawn of a puppet's face, or of its voice."""
    if kind == "vecb":
        smiles = "drawn far down|drawn down|straight|curved up|curved into a broad smile"
        mouth = word(puppet.mouth, (-0.6, -0.15, 0.15, 0.6), smiles)
        lift = word(puppet.lift, (-0.2, 0.5), "pressed low|at rest|raised high")
        brow = word(puppet.brow, (-0.3, 0.3), "slanted up inside|level|drawn together")
        skin = word(puppet.speaker.skin_hue, (32, 41), "reddish|tan|yellowish")
        return f"A {skin} face that looks {puppet.expression}: the mouth is {mouth}, the brows are {brow} and {lift}."
    base = word(puppet.speaker.base_pitch, (176, 220), "low|middle|high")
    loud = word(puppet.energy, (-2.5, 2.5), "quiet|of usual loudness|loud")
    tempo = word(puppet.tempo, (3.4, 4.7), "slow|neither slow nor fast|fast")
    contour = word(puppet.contour, (-3, 3), "falls|stays level|rises")
    return f"A {base} {puppet.tone} voice, {loud} and {tempo}, whose pitch {contour}."


def write_encoder(kind: str, at: Path, seed: int) -> None:
    """A small random encoder as transformers writes it."""
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModel, HubertConfig, HubertModel

    torch.manual_seed(seed)
    sizes = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4)
    if kind == "vecb":
        CLIPVisionModel(CLIPVisionConfig(**sizes, image_size=56, patch_size=14)).save_pretrained(at)
        return
    style = dict(feat_extract_norm="layer", conv_bias=True, do_stable_layer_norm=True)
    convolutions = dict(conv_dim=(32,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4)
    HubertModel(HubertConfig(**sizes, **style, **convolutions)).save_pretrained(at)


def recall_among(clips: np.ndarray, captions: np.ndarray, texts: list[str], seed: int) -> float:
    """R@1 of clips' vectors among `AMONG` captions that differ, a mean over `DRAWS` choices of clips."""
    scores, texts, rng, found = np.asarray(cosines(clips, captions)), np.array(texts), np.random.default_rng(seed), []
    for _ in range(DRAWS):
        order = rng.permutation(len(texts))
        _, first = np.unique(texts[order], return_index=True)
        some = order[rng.permutation(first)[:AMONG]]
        if len(some) < AMONG:
            raise SystemExit(f"error: only {len(some)} test captions differ; raise --clips")
        found.append((scores[np.ix_(some, some)].argmax(1) == np.arange(AMONG)).mean())
    return float(np.mean(found))


def means(features: PairFeatures) -> np.ndarray:
    """The mean state of each clip, [N, width]."""
    valid = np.asarray(features.valid)[..., None]
    return (np.asarray(features.states) * valid).sum(1) / valid.sum(1)


def linear_map(
    options: BridgesOptions, features: PairFeatures, train: np.ndarray, test: np.ndarray
) -> list[np.ndarray]:
    """[vectors of test clips, of their captions] of a linear map that learned by the same loss and batches."""
    mean, captions = means(features), np.asarray(features.captions)
    mean = (mean - mean[train].mean(0)) / (mean[train].std(0) + 1e-6)
    size = min(options.batch_size, len(train))
    total, rng = len(train) // size * options.epochs, np.random.default_rng(options.seed)
    width = options.output_size
    shapes = {"clips": (mean.shape[1], width), "captions": (captions.shape[1], width)}
    params = {n: jnp.asarray(rng.standard_normal(s) / s[0] ** 0.5, jnp.float32) for n, s in shapes.items()}
    params["temperature"] = jnp.float32(options.temperature)
    optimizer = build_optimizer(options.optimizer, total)
    state = optimizer.init(params)

    @jax.jit
    def update(params, state, x, y):
        def loss(p):
            return info_nce(x @ p["clips"], y @ p["captions"], p["temperature"])

        change, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, change), state

    for step in range(total):
        epoch, place = divmod(step, len(train) // size)
        drawn = train[np.random.default_rng([options.seed, 0, epoch]).permutation(len(train))]  # as bridges are
        rows = drawn[place * size : (place + 1) * size]
        params, state = update(params, state, mean[rows], captions[rows])
    return [mean[test] @ np.asarray(params["clips"]), captions[test] @ np.asarray(params["captions"])]


def vectors(params: dict, config, features: PairFeatures, rows: np.ndarray) -> list[np.ndarray]:
    """[vectors of clips, of their captions] by a bridge and its heads."""
    some = features.take(rows)
    states = encode_bridge(params["bridge"], config, some.states, some.valid)
    return [
        np.asarray(clip_vectors(params["heads"], config, states, some.valid)),
        np.asarray(caption_vectors(params["heads"], some.captions)),
    ]


def cell(args, kind: str, seed: int, pairs: list[Pair]) -> dict[str, float]:
    """R@1 of a bridge before and after its stage, and of a linear map."""
    at, shared = args.work / f"{kind}_{seed}", args.work / kind
    if (at / "result.json").exists():
        return json.loads((at / "result.json").read_text())
    at.mkdir(parents=True, exist_ok=True)
    if not (shared / "encoder").exists():
        write_encoder(kind, shared / "encoder", 0)
    optimizer = OptimizerOptions(learning_rate=args.rate)
    options = BridgesOptions(kind=kind, encoder=str(shared / "encoder"), text_encoder=str(args.minilm), seed=seed,
                             batch_size=128, epochs=args.epochs, output_size=64, optimizer=optimizer)  # fmt: skip
    options = replace(options, seconds=3.0)
    features = encode_pairs(pairs, options, shared)
    config = bridge_config(options, features.captions.shape[1])
    train, test = (np.array([i for i, p in enumerate(pairs) if p.split == s]) for s in ("train", "test"))
    texts = [pairs[i].caption for i in test]
    fresh = fresh_bridge(options, config)
    learned = train_bridge(options, config, features, train, at / "run")
    found = {
        "before": recall_among(*vectors(fresh, config, features, test), texts, seed),
        "linear map": recall_among(*linear_map(options, features, train, test), texts, seed),
        "bridge": recall_among(*vectors(learned, config, features, test), texts, seed),
    }
    (at / "result.json").write_text(json.dumps(found))
    print(kind, seed, found, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minilm", type=Path, default=Path("weights/all-minilm-l6-v2"))
    parser.add_argument("--clips", type=int, default=768)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--rate", type=float, default=1e-3)
    args = parser.parse_args()
    world = ConceptWorld(num_train=args.clips, num_valid=1, num_test=256, workers=1)
    if not (args.work / "puppets").exists():
        make_concept_puppets(args.work / "puppets", world)
    lines = ["| bridge | of | before | linear map | after its stage |", "|---|---|---|---|---|"]
    for kind, of in KINDS.items():
        pairs = [
            Pair(p.id, args.work / "puppets/Raw" / p.video_id / f"{p.clip_id}.mp4", caption_of(p, kind), p.split)
            for p in draw_concept_world(world)
        ]
        cells = [cell(args, kind, seed, pairs) for seed in map(int, args.seeds.split(","))]
        shown = [f"{np.mean([c[n] for c in cells]):.3f} ({', '.join(f'{c[n]:.3f}' for c in cells)})" for n in cells[0]]
        lines.append(f"| {kind.upper()} | {of} | {' | '.join(shown)} |")
    table = "\n".join(lines) + "\n"
    (args.work / "table.md").write_text(table)
    print(table)


if __name__ == "__main__":
    main()
