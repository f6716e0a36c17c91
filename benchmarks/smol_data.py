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
from real_data import ravdess

from emsa_jax.answers.formats import make_format
from emsa_jax.config.edge import from_config_dict, to_config_dict
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
    evaluated = replace(
        base.evaluate, split=args.split, answers=str(args.workdir.absolute() / "answers"), decode="greedy", resamples=0
    )
    config = replace(
        base, policy=args.policy, data=str(source), seed=seed, stages=("prepare", "sft", "evaluate"), evaluate=evaluated
    )
    if name == "mosi":
        config = replace(config, score_range=(-3.0, 3.0), evaluate=replace(evaluated, decode="expected"))
    else:
        config = replace(
            config,
            score_range=(-1.0, 1.0),
            stages=("prepare", "align", "sft", "evaluate"),
            format="class_only",
            prompt=PromptOptions(modalities=("audio",)),
            encodings=EncodingOptions(path=str(args.workdir / "encodings")),
            balance=True,
        )
    fields = to_config_dict(config)
    fields.update_from_flattened_dict(dict(args.set))
    return from_config_dict(Config, fields)


def source_of(name: str, args: argparse.Namespace) -> Path:
    """The clips of an experiment as a table."""
    data = args.data.absolute()
    return data / "text" / "mosi_label.csv" if name == "mosi" else ravdess(data, args.workdir / "ravdess_clips")


def predictions(name: str, args: argparse.Namespace, seed: int, source: Path) -> dict[str, list[dict]]:
    """Policy -> its predictions, of a run that is made, or goes on, or is done already."""
    config, workdir = settings(name, args, seed, source), args.workdir / f"{name}_{seed}"
    with open_run(workdir, config) as run:
        keep_compiled(args.workdir / "compilation_cache")
        run_stages(run, config)
    return {
        policy: read_predictions(workdir / "evaluate" / policy / "train" / "predictions.jsonl")
        for policy in ("zero_shot", "align", "sft")
        if (workdir / "evaluate" / policy).is_dir()
    }


def readings(name: str, rows: Sequence[Mapping]) -> dict[str, list[tuple]]:
    """How the answers are read -> (score, polarity) of each clip, None where an answer cannot be read."""
    given = [(row["score"], row["polarity"]) for row in rows]
    if name == "ravdess":
        return {"greedy": given}
    format = make_format("label_only", (-3.0, 3.0), 0.0, smol().concepts)
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
    for name, by_policy in results.items():
        lines += ["", "| " + " | ".join([name, "read", "seeds", *COLUMNS[name]]) + " |"]
        lines.append("|" + "---|" * (3 + len(COLUMNS[name])))
        for policy, by_reading in by_policy.items():
            for reading, metrics in by_reading.items():
                cells = [cell(metric) for metric in metrics.values()]
                count = len(next(iter(metrics.values()))["seeds"])
                lines.append("| " + " | ".join([policy, reading, str(count), *cells]) + " |")
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
    results: dict[str, dict] = {}
    for name in args.only.split(","):
        source, found = source_of(name, args), {}
        for seed in map(int, args.seeds.split(",")):
            for policy, rows in predictions(name, args, seed, source).items():
                for reading, read in readings(name, rows).items():
                    measures = found.setdefault(policy, {}).setdefault(reading, [])
                    measures.append(measured(name, rows, read))
            print(f"{name}, seed {seed}: done", flush=True)
        results[name] = {
            policy: {reading: over_seeds(measures, len(rows)) for reading, measures in by_reading.items()}
            for policy, by_reading in found.items()
        }
    print(table(results))
    if args.out:
        changed = {name: str(value) for name, value in args.set}
        about = {"split": args.split, "changed": changed, "results": results}
        args.out.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
