"""The preset smol on real sentences and on real voices, over seeds, with intervals.

    python benchmarks/smol_data.py --policy weights/smol --data DIR [--only mosi,ravdess] [--seeds 0,1,2] [--split test]
        [--workdir runs/smol_data] [--out FILE] [--set FIELD=VALUE ...]

DIR holds text/mosi_label.csv and audio/ravdess/Actor_XX/*.flac.

mosi     words of CMU-MOSI, official split: a label-only cold start
ravdess  acted speech, polarity from the voice alone, speakers 1-14 train, 15-16 validate, 17-20 judge: the projector is
         aligned in closed form, then a label-only cold start

A seed of an experiment is a run of its own: the same command goes on where it was stopped, and does nothing twice.
MOSI's answers are read in two ways, as they were written (greedy) and as expectations over all scores (expected). The
table has the mean over seeds, the lowest, the highest, and a 95% interval of the mean: seeds and clips are drawn anew,
the same clips for every seed of a draw. --split valid is for choosing; --set changes a field: --set sft.max_steps=60.
"""

from __future__ import annotations

import argparse
import ast
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import real_clips

from emsa_jax.answers.formats import make_format
from emsa_jax.config.edge import from_config_dict, to_config_dict
from emsa_jax.data.data_options import ReadingOptions
from emsa_jax.evaluation.result_files import read_predictions
from emsa_jax.evaluation.sentiment_metrics import family_of, regression_metrics
from emsa_jax.jobs.stages import run_stages
from emsa_jax.rollout.rollout_options import EncodingOptions, PromptOptions
from emsa_jax.runtime.programs import keep_compiled
from emsa_jax.runtime.run import open_run
from emsa_jax.settings.config import Config
from emsa_jax.settings.presets import smol

COLUMNS = {
    "mosi": {"Non0": "Non0_acc_2", "Has0": "Has0_acc_2", "MAE": "MAE", "Corr": "Corr", "Acc7": "Mult_acc_7"},
    "ravdess": {"UAR": "Polarity_UAR", "accuracy": "Polarity_acc"},
}
FLOORS = {
    "mosi": "TF-IDF and ridge: Non0 0.727, Has0 0.716, MAE 1.114, Corr 0.568, Acc7 0.230",
    "ravdess": "log-mel statistics and SVM: UAR 0.586",
}
RESAMPLES = 2000


def settings(name: str, args: argparse.Namespace, seed: int, source: Path) -> Config:
    """What an experiment changes of the preset."""
    base = smol()
    config = replace(base, policy=args.policy, data=str(source), seed=seed, stages=("prepare", "sft"))
    if name == "mosi":
        config = replace(config, score_range=(-3.0, 3.0))
    else:
        config = replace(
            config,
            score_range=(-1.0, 1.0),
            stages=("prepare", "align", "sft"),
            format="class_only",
            evaluate=replace(config.evaluate, decode="greedy"),
            prompt=PromptOptions(modalities=("audio",)),
            encodings=EncodingOptions(path=str(args.workdir.absolute() / "encodings")),
            balance=True,
            lora=replace(config.lora, alpha=32.0),
            reward=replace(config.reward, class_balance="inverse"),  # the best update is that of the best recall
            sft=replace(config.sft, max_steps=40, eval_every=20, save_every=10),
        )
    fields = to_config_dict(config)
    fields.update_from_flattened_dict(dict(args.set))
    return from_config_dict(Config, fields)


def source_of(name: str, args: argparse.Namespace) -> Path:
    """The clips of an experiment as a table."""
    data = args.data.absolute()
    if name == "mosi":
        return data / "text" / "mosi_label.csv"
    return real_clips.write_table(args.workdir / "ravdess_clips" / "clips.csv", real_clips.ravdess(data))


def predictions(args: argparse.Namespace, config: Config, workdir: Path) -> list[dict]:
    """What the policy of a run says, which is made, or goes on, or is done already."""
    with open_run(workdir, config) as run:
        run_stages(run, config)
    aligned = workdir / "align" / "policy"
    trained = replace(
        config,
        stages=("evaluate",),
        data=str(workdir / "records" / "train"),
        policy=str(aligned) if aligned.is_dir() else config.policy,
        adapter=str(workdir / "sft" / "adapter"),
        read=ReadingOptions(),
        evaluate=replace(config.evaluate, split=args.split),
    )
    judged = workdir / f"judged_{args.split}"
    with open_run(judged, trained) as run:  # so that the policies before it are not asked too
        run_stages(run, trained)
    return read_predictions(judged / "evaluate" / "zero_shot" / "train" / "predictions.jsonl")


def readings(name: str, rows: Sequence[Mapping], answers: str = "label_only") -> dict[str, list[tuple]]:
    """How the answers are read -> (score, polarity) of each clip, None where an answer cannot be read. answers: the
    format of those about MOSI."""
    given = [(row["score"], row["polarity"]) for row in rows]
    if name == "ravdess":
        return {"greedy": given}
    format = make_format(answers, (-3.0, 3.0), 0.0, smol().concepts)
    written = [format.parse(row["answer"]) for row in rows]
    return {"greedy": [(answer.score, answer.polarity) for answer in written], "expected": given}


def measured(name: str, rows: Sequence[Mapping], read: Sequence[tuple]) -> Callable[[np.ndarray], dict]:
    """The metrics of an experiment as a function of the clips (int [n], with repetitions)."""
    truth = np.array([row["target"] for row in rows], np.float32)
    family = family_of((-3.0, 3.0) if name == "mosi" else (-1.0, 1.0))

    def of(at: np.ndarray) -> dict:
        scores, named = [read[i][0] for i in at], [read[i][1] for i in at]
        found = regression_metrics(scores, truth[at], family, "worst", named)
        return {short: found[long] for short, long in COLUMNS[name].items()}

    return of


def over_seeds(measures: Sequence[Callable[[np.ndarray], dict]], clips: int) -> dict[str, dict]:
    """Metric -> {"mean", "low", "high" of the seeds, "interval" of the mean, "seeds"}."""
    rng = np.random.default_rng(0)
    every = [measure(np.arange(clips)) for measure in measures]
    drawn = []
    for _ in range(RESAMPLES):
        at, seeds = rng.integers(clips, size=clips), rng.integers(len(measures), size=len(measures))
        by_seed = {seed: measures[seed](at) for seed in set(seeds.tolist())}
        drawn.append({name: np.mean([by_seed[seed][name] for seed in seeds.tolist()]) for name in every[0]})
    return {
        name: {
            "mean": float(np.mean([one[name] for one in every])),
            "low": min(one[name] for one in every),
            "high": max(one[name] for one in every),
            "interval": np.quantile([draw[name] for draw in drawn], (0.025, 0.975)).tolist(),
            "seeds": [one[name] for one in every],
        }
        for name in every[0]
    }


def table(results: Mapping[str, Mapping]) -> str:
    """All results as Markdown, with the floors."""
    lines = []
    for name, by_reading in results.items():
        lines += ["", "| " + " | ".join([name, "seeds", *COLUMNS[name]]) + " |"]
        lines.append("|" + "---|" * (2 + len(COLUMNS[name])))
        for reading, metrics in by_reading.items():
            count = len(next(iter(metrics.values()))["seeds"])
            lines.append("| " + " | ".join([reading, str(count), *map(cell, metrics.values())]) + " |")
        lines += ["", f"Floor: {FLOORS[name]}."]
    return "\n".join(lines[1:])


def cell(metric: Mapping) -> str:
    """Mean, interval, and the seeds' range."""
    low, high = metric["interval"]
    return f"{metric['mean']:.3f} [{low:.3f}, {high:.3f}] ({metric['low']:.3f} to {metric['high']:.3f})"


def value_of(text: str) -> tuple[str, object]:
    """FIELD=VALUE; a value that is no literal is text."""
    name, _, value = text.partition("=")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policy", default="weights/smol")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", default=",".join(COLUMNS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--split", default="test", choices=("valid", "test"))
    parser.add_argument("--workdir", type=Path, default=Path("runs/smol_data"))
    parser.add_argument("--set", type=value_of, action="append", default=[])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    keep_compiled(args.workdir / "compilation_cache")
    results: dict[str, dict] = {}
    for name in args.only.split(","):
        source, found = source_of(name, args), {}
        for seed in map(int, args.seeds.split(",")):
            rows = predictions(args, settings(name, args, seed, source), args.workdir / f"{name}_{seed}")
            for reading, read in readings(name, rows).items():
                found.setdefault(reading, []).append(measured(name, rows, read))
            print(f"{name}, seed {seed}: done", flush=True)
        results[name] = {reading: over_seeds(measures, len(rows)) for reading, measures in found.items()}
    print(table(results))
    if args.out:
        changed = {name: str(value) for name, value in args.set}
        about = {"split": args.split, "changed": changed, "results": results}
        args.out.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
