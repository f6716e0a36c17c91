"""What closed-form alignment hears by itself: the word nearest to a clip's mean token, on people it was not fitted on.

    python benchmarks/alignment.py --policy DIR --data DIR [--ridge 0.01] [--words A,B,C] [--workdir DIR] [--out FILE]

policy: an assembled policy with an audio tower. data: DIR/audio/ravdess/Actor_XX/*.flac; speakers 1-14 are fitted,
15-16 are for choosing --ridge, 17-20 judge. words: for negative, neutral and positive; without them those of the
answers. Prints the unweighted average recall of polarity for every value of --ridge, with seconds of encoding and of
linear algebra, and that of a linear probe on the same mean tokens.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import real_clips
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emsa_jax.answers.labels import polarity_of
from emsa_jax.config.edge import pick
from emsa_jax.jobs.stages import run_stages
from emsa_jax.policy.checkpoint import load_weights
from emsa_jax.rollout.prompted_data import open_split
from emsa_jax.runtime.programs import keep_compiled
from emsa_jax.runtime.run import open_run
from emsa_jax.settings.config import Config
from emsa_jax.training.align_closed import description_embeddings, features, tower_sums
from emsa_jax.training.align_setup import AlignSetup, open_setup
from emsa_jax.training.artifacts import records_dir
from emsa_jax.training.stage_settings import AlignSettings
from emsa_jax.training.training_options import AlignOptions

PENALTY = 0.01  # of the probe: the inverse of the weight of its squared weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policy", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--ridge", default="0.001,0.003,0.01,0.03,0.1,0.3,1.0")
    parser.add_argument("--words", default=",".join(AlignOptions().words.values()))
    parser.add_argument("--workdir", type=Path, default=Path("runs/alignment"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    table = real_clips.write_table(args.workdir / "clips" / "clips.csv", real_clips.ravdess(args.data.absolute()))
    words = dict(zip(AlignOptions().words, args.words.split(","), strict=True))
    config = Config(
        data=str(table), policy=args.policy, stages=("prepare",), score_range=(-1.0, 1.0), language="en",
        format="class_only", align=AlignOptions(words=words),
    )  # fmt: skip
    with open_run(args.workdir / "run", config) as run:
        keep_compiled(run.path("compilation_cache"))
        run_stages(run, config)
        settings = pick(AlignSettings, config)
        setup = open_setup(run, settings)
        params = load_weights(setup.checkpoint, settings.dtype, setup.placement.update).params
        setup.train.load_towers(params)
        begun = time.monotonic()
        embeddings = description_embeddings(setup, params)
        found = tower_sums(setup, params, embeddings)["audio"]
        encoded = time.monotonic() - begun
        judged = {
            split: means_of(setup, params, records_dir(run, settings, "train"), split)
            for split in ("train", "valid", "test")
        }
    train, words = judged.pop("train")
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=2000, class_weight="balanced"))
    probe.fit(train, words)
    names = sorted(set(setup.texts))
    targets = np.stack([embeddings[setup.texts.index(name)] for name in names])
    result = {"clips": len(setup.texts), "seconds": {"encoding": round(encoded, 1)}, "words": names, "uar": {}}
    for split, (means, words) in judged.items():
        result["uar"].setdefault("probe", {})[split] = round(
            recall_score(words, probe.predict(means), average="macro"), 4
        )
    print("linear probe", result["uar"]["probe"], flush=True)
    for ridge in map(float, args.ridge.split(",")):
        begun = time.monotonic()
        weight, bias = found.sums.solve(ridge)
        result["seconds"]["solve"] = round(time.monotonic() - begun, 2)
        row = {
            "norm": round(found.sums.output_norm(weight, bias), 3),
            "explained": round(found.sums.explained(weight, bias), 3),
        }
        for split, (means, words) in judged.items():
            guess = (((means @ weight.T + bias)[:, None] - targets[None]) ** 2).sum(-1).argmin(1)
            truth = np.array([names.index(word) for word in words])
            row[split] = round(float(np.mean([np.mean(guess[truth == k] == k) for k in range(len(names))])), 4)
        result["uar"][str(ridge)] = row
        print(ridge, row, flush=True)
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


def means_of(setup: AlignSetup, params: dict, records: Path, split: str) -> tuple[np.ndarray, list[str]]:
    """(mean token of each clip of a split as the projector reads it, the word for its label)."""
    asking = replace(setup.settings, prompt=setup.train.prompter.options)
    opened = open_split(asking, records, setup.checkpoint, split)
    opened = replace(opened, prompter=setup.train.prompter)
    words = [setup.settings.align.words[polarity_of(entry.score)] for entry in opened.entries]
    rows = {i: x.mean(0, dtype=np.float64) for i, _, x in features(replace(setup, train=opened, texts=words), params)}
    return np.stack([rows[i] for i in sorted(rows)]), [words[i] for i in sorted(rows)]


if __name__ == "__main__":
    main()
