"""The five networks on feature files with a planted signal, beside ridge regression on the same features.

    python benchmarks/features_signal.py --out DIR [--networks mult misa almt dlf mag_bert] [--seeds 0 1 2]

Made utterances have the shape of MMSA's files, four times the sizes of a tiny one: text 28 steps of 96, audio 44 of 20,
vision 36 of 32. A word says how positive an utterance is, and the word before it, if it is `not`, turns it round
(order); a rise of the voice late in three of ten utterances, irony, turns it round as well (interaction); the face adds
a little, and contradicts the words in a share of them. Ridge, whose penalty is chosen on the validation split, reads
the mean of every feature and, as another model, every number of the text beside the means. MAG-BERT reads the words
through a random BERT of two layers that it trains. Prints MAE and correlation on the test split, mean and deviation
over seeds.
"""

from __future__ import annotations

import argparse
import json
import pickle
from pathlib import Path

import numpy as np
from sklearn.linear_model import Ridge

VOCABULARY, STEPS, WIDTH = 99, 28, 96
NOT, FIRST_VALUE, VALUES, FIRST_OTHER = 5, 10, 11, 30
CHANGES = {
    "mult": ("width=24", "heads=4", "learning_rate=2e-3", "batch_size=32", "accumulate=1", "text=0.0", "max_epochs=40"),
    "misa": ("hidden=32", "learning_rate=2e-3", "batch_size=32", "accumulate=1", "max_epochs=40"),
    "almt": ("width=32", "hidden=32,32,32", "heads=2,2,2", "fusion_depth=2", "learning_rate=1e-3", "max_epochs=40"),
    "dlf": ("width=24", "heads=4", "learning_rate=1e-3", "batch_size=32", "accumulate=1", "text=0.0", "max_epochs=40"),
    "mag_bert": ("learning_rate=1e-3", "rate=0.0", "max_epochs=40"),
}


def part(seed: int, count: int) -> dict:
    """Utterances as a part of a feature file."""
    rng, fixed = np.random.default_rng([seed, 1]), np.random.default_rng(0)
    embedding = fixed.normal(size=(VOCABULARY, WIDTH))
    rise, smile = fixed.normal(size=20), fixed.normal(size=32)
    ids = rng.integers(FIRST_OTHER, VOCABULARY, (count, STEPS))
    lengths, rows = rng.integers(12, STEPS + 1, count), np.arange(count)
    value = rng.integers(0, VALUES, count)
    at = rng.integers(2, lengths - 1)
    ids[rows, at] = FIRST_VALUE + value
    turned, ironic = rng.random(count) < 0.4, rng.random(count) < 0.3
    ids[rows[turned], at[turned] - 1] = NOT
    elsewhere = ~turned & (rng.random(count) < 0.6)  # `not` before another word turns nothing round
    ids[rows[elsewhere], np.where(at > 4, 1, lengths - 1)[elsewhere]] = NOT
    inside = np.arange(STEPS) < lengths[:, None]
    ids = np.where(inside, ids, 0)
    words = (value / (VALUES - 1) * 2 - 1) * np.where(turned, -1, 1) * np.where(ironic, -1, 1)
    face = np.where(rng.random(count) < 0.3, -1, 1) * words + rng.normal(0, 0.5, count)
    labels = np.clip(0.85 * words + 0.15 * np.clip(face, -1, 1), -1, 1)
    audio = rng.normal(size=(count, 44, 20))
    begin = rng.integers(24, 38, count)
    late = (np.arange(44) >= begin[:, None]) & (np.arange(44) < begin[:, None] + 6)
    audio += late[..., None] * np.where(ironic, 1.5, 0.0)[:, None, None] * rise
    vision = rng.normal(size=(count, 36, 32)) + 0.3 * face[:, None, None] * smile
    return {
        "id": [f"made_{seed}$_${i}" for i in range(count)],
        "raw_text": ["" for _ in range(count)],
        "text": (embedding[ids] * inside[..., None] + rng.normal(0, 0.1, (count, STEPS, WIDTH))).astype(np.float32),
        "text_bert": np.stack([ids, inside, np.zeros_like(ids)], axis=1),
        "audio": audio.astype(np.float32),
        "vision": vision.astype(np.float32),
        "regression_labels": labels,
    }


def write_bert(directory: Path) -> None:
    """A random BERT of two layers, as a Hugging Face directory."""
    import jax
    from safetensors.numpy import save_file

    from emsa_jax.policy.encoder_tables import bert_table
    from emsa_jax.policy.hf_config import bert_config
    from emsa_jax.policy.parameter_table import get, init_table

    sizes = dict(vocab_size=VOCABULARY, hidden_size=48, intermediate_size=96, num_hidden_layers=2)
    raw = {"model_type": "bert", "num_attention_heads": 4, "max_position_embeddings": 64, **sizes}
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(raw))
    table = list(bert_table(bert_config(raw, "config.json")))
    params, tensors = init_table(table, jax.random.key(0)), {}
    for spec in table:
        value = np.asarray(get(params, spec.path))
        for n, one in enumerate(value if spec.layers else [value]):
            tensors[spec.disk.format(n=n)] = np.ascontiguousarray(one)
    save_file(tensors, directory / "model.safetensors")


def ridge(parts: dict, flat: bool) -> np.ndarray:
    """Predictions for the test split."""

    def features(one: dict) -> np.ndarray:
        text = one["text"].reshape(len(one["id"]), -1) if flat else one["text"].mean(1)
        return np.concatenate([text, one["text"].mean(1), one["audio"].mean(1), one["vision"].mean(1)], axis=1)

    x = {split: features(one) for split, one in parts.items()}
    y = {split: one["regression_labels"] for split, one in parts.items()}
    fits = [Ridge(alpha).fit(x["train"], y["train"]) for alpha in 10.0 ** np.arange(-1, 6)]
    best = min(fits, key=lambda fit: np.abs(fit.predict(x["valid"]) - y["valid"]).mean())
    return best.predict(x["test"])


def main() -> None:
    """Makes the file, trains, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--networks", nargs="+", default=list(CHANGES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--train", type=int, default=1200)
    arguments = parser.parse_args()
    parts = {
        name: part(i, n) for i, (name, n) in enumerate((("train", arguments.train), ("valid", 200), ("test", 400)))
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / "planted.pkl"
    file.write_bytes(pickle.dumps(parts))
    write_bert(arguments.out / "bert")
    truth = parts["test"]["regression_labels"]
    print("| model | MAE | Corr |\n|---|---|---|", flush=True)
    show("the mean of train", [np.full(len(truth), parts["train"]["regression_labels"].mean())], truth)
    show("ridge, means", [ridge(parts, False)], truth)
    show("ridge, every step of the text", [ridge(parts, True)], truth)
    from emsa_jax import features

    for network in arguments.networks:
        more = {"bert": str(arguments.out / "bert")} if network == "mag_bert" else {}
        found = features.run(network, file, arguments.seeds, change=CHANGES[network], **more)
        show(network, [one.predictions["test"] for one in found.values()], truth)


def show(name: str, predictions: list[np.ndarray], truth: np.ndarray) -> None:
    """One line of the table."""
    mae = [np.abs(one - truth).mean() for one in predictions]
    corr = [np.corrcoef(one, truth)[0, 1] if np.ptp(one) else float("nan") for one in predictions]
    cells = [f"{np.mean(v):.3f} ± {np.std(v, ddof=1):.3f}" if len(v) > 1 else f"{v[0]:.3f}" for v in (mae, corr)]
    print(f"| {name} | {cells[0]} | {cells[1]} |", flush=True)


if __name__ == "__main__":
    main()
