"""Hint-GRPO on puppets: what it adds to the cold start, and beside what.

    python benchmarks/hint_study.py [--seeds 0,1,2] [--parts hint,off,drop_hard,continued] [--workdir runs/hint_study]
                                    [--out benchmarks/results/hint_study.md]

For each seed one cold start (stopped when its validation reward has not risen for 3 evaluations), and from it:
Hint-GRPO (the default), GRPO without hints, GRPO without hard samples, and the cold start continued for as many answer
tokens as GRPO learned from. All are judged on the test split. The ceiling is a classifier on the puppets' true latent
cues. Finished parts are kept: the same command goes on.
"""
from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
from dataclasses import replace
from pathlib import Path

from emsa_jax.data.puppets import ceiling
from emsa_jax.jobs.options import Config, Dataset
from emsa_jax.jobs.pipeline import run_stages
from emsa_jax.jobs.presets import embedded
from emsa_jax.jobs.programs import keep_compiled
from emsa_jax.jobs.run import open_run

SHARED = ("puppets", "records", "policy", "sft", "stages.json", "evaluate")
COLUMNS = {"reward, sampled": lambda r: r["mean_sampled_reward"], "reward, greedy": lambda r: r["rewards"]["total"],
           "polarity acc": lambda r: r["metrics"]["Polarity_acc"], "MAE": lambda r: r["metrics"]["MAE"],
           "Corr": lambda r: r["metrics"]["Corr"]}
NAMES = {"zero_shot": "zero-shot", "sft": "cold start", "hint": "Hint-GRPO", "off": "GRPO without hints",
         "drop_hard": "GRPO without hard samples", "continued": "cold start, continued"}


def run(workdir: Path, config: Config, cache: Path) -> None:
    with open_run(workdir, config) as opened:
        keep_compiled(cache)
        run_stages(opened, config)


def variant(base: Path, name: str) -> Path:
    """A workdir that shares what the cold start left."""
    workdir = base.with_name(f"{base.name}_{name}")
    if not workdir.exists():
        part = workdir.with_name(workdir.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for item in SHARED:
            source = base / item
            if source.is_dir():
                shutil.copytree(source, part / item)
            else:
                shutil.copyfile(source, part / item)
        part.rename(workdir)
    return workdir


def read(workdir: Path, policy: str) -> dict:
    return json.loads((workdir / "evaluate" / policy / "train" / "metrics.json").read_text())


def learned_tokens(workdir: Path) -> int:
    """Answer tokens that GRPO learned from."""
    rows = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return sum(row["num_tokens"] for row in rows if row["stage"] == "grpo")


def study(seed: int, root: Path, parts: list[str]) -> dict[str, dict]:
    """What came out for one seed; parts that were made before are read, others only if asked for."""
    cache = root / "compilation_cache"
    config = replace(embedded(), seed=seed, cross=Dataset())
    base = root / f"seed{seed}"
    run(base, replace(config, stages=("prepare", "sft", "evaluate")), cache)
    results = {"zero_shot": read(base, "zero_shot"), "sft": read(base, "sft")}
    results["ceiling"] = ceiling(base / "puppets" / "en" / "latents.csv")
    for mode in ("hint", "off", "drop_hard"):
        if mode in parts:
            workdir = variant(base, mode)
            run(workdir, replace(config, hint=replace(config.hint, mode=mode)), cache)
            results[mode] = read(workdir, "grpo")
    if "continued" not in parts:
        return results
    per_update = sum(row["num_tokens"] for row in (json.loads(line) for line in (base / "metrics.jsonl").open())
                     if row["stage"] == "sft" and row["step"] <= 20) / 20
    steps = math.ceil(learned_tokens(variant(base, "hint")) / per_update)
    more = root / f"seed{seed}_continued"
    # every 8th of the way a validation; the best is kept, as in the cold start itself
    longer = replace(config.sft, max_steps=steps, eval_every=max(steps // 8, 1), save_every=max(steps // 8, 1),
                     patience=99, optimizer=replace(config.sft.optimizer, schedule="cosine"))
    run(more, replace(config, stages=("prepare", "sft", "evaluate"), policy=str(base / "sft" / "policy"), sft=longer,
                      data=str(base / "records" / "train"), score_range=(-3.0, 3.0),
                      traces=str(base / "puppets" / "en" / "traces.jsonl")), cache)
    results["continued"] = read(more, "sft")
    return results


def table(found: dict[int, dict]) -> str:
    lines = [f"Seeds {', '.join(map(str, found))}; mean (standard deviation over seeds); test split, 256 clips.", "",
             "| policy | " + " | ".join(COLUMNS) + " |", "|" + "---|" * (len(COLUMNS) + 1)]
    for name, shown in NAMES.items():
        cells = []
        for column in COLUMNS.values():
            values = [column(results[name]) for results in found.values() if name in results]
            values = [value for value in values if value is not None]
            spread = f" ({statistics.stdev(values):.3f})" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.3f}{spread}" if values else "-")
        lines.append(f"| {shown} | " + " | ".join(cells) + " |")
    top = [results["ceiling"]["face_and_voice"] for results in found.values()]
    lines += [f"| ceiling: true latent cues | - | - | {statistics.mean(top):.3f} | - | - |", ""]
    for name, shown in list(NAMES.items())[2:]:
        seeds = [r for r in found.values() if name in r]
        if not seeds:
            continue
        gains = [[column(r[name]) - column(r["sft"]) for r in seeds] for column in list(COLUMNS.values())[:3]]
        text = ", ".join(f"{label} {statistics.mean(g):+.3f} ({', '.join(f'{x:+.3f}' for x in g)})"
                         for label, g in zip(COLUMNS, gains, strict=False))
        lines.append(f"- {shown} over the cold start: {text}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--parts", default="hint,off,drop_hard,continued", help="what to run beside the cold start")
    parser.add_argument("--workdir", type=Path, default=Path("runs/hint_study"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    parts = args.parts.split(",")
    found = {seed: study(seed, args.workdir.absolute(), parts) for seed in map(int, args.seeds.split(","))}
    print(table(found))
    if args.out:
        args.out.write_text(table(found) + "\n")


if __name__ == "__main__":
    main()
