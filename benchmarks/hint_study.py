"""What RL adds to its cold start with hints, without, and without hard samples, of finished runs of the main job.

    python benchmarks/hint_study.py [--runs runs] [--seeds 0,1,2] [--out benchmarks/results/hint_study.md]

Reads summary.json of the runs named <hint.mode><seed>, as docs/results.md makes them.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

ARMS = {"hint": "Hint-GRPO", "off": "GRPO without hints", "drop_hard": "GRPO without hard samples"}
COLUMNS = ("reward, sampled (of 3)", "reward, greedy", "polarity accuracy, greedy", "MAE", "Corr")


def read(workdir: Path, policy: str) -> tuple[float, ...]:
    """The values of the columns in domain."""
    found = json.loads((workdir / "summary.json").read_text())["train"][policy]
    return (
        found["mean_sampled_reward"],
        found["rewards"]["total"],
        *(found["metrics"][name] for name in ("Polarity_acc", "MAE", "Corr")),
    )


def table(runs: Path, seeds: list[int]) -> str:
    """Means and deviations over seeds, and gains over the cold start."""
    base = [read(runs / f"hint{seed}", "sft") for seed in seeds]
    arms = {mode: [read(runs / f"{mode}{seed}", "grpo") for seed in seeds] for mode in ARMS}
    lines = ["| policy | " + " | ".join(COLUMNS) + " |", "|" + "---|" * (len(COLUMNS) + 1)]
    for title, rows in (("cold start", base), *((ARMS[mode], rows) for mode, rows in arms.items())):
        cells = [f"{statistics.mean(c):.3f} ({statistics.stdev(c):.3f})" for c in zip(*rows, strict=True)]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    lines.append("")
    for mode, rows in arms.items():
        reward, accuracy = (
            [factor * (after[at] - before[at]) for after, before in zip(rows, base, strict=True)]
            for at, factor in ((0, 1), (2, 100))
        )
        lines.append(
            f"- {ARMS[mode]} over the cold start: reward, sampled {statistics.mean(reward):+.3f} "
            f"({', '.join(f'{gain:+.3f}' for gain in reward)}); polarity accuracy "
            f"{statistics.mean(accuracy):+.1f} points ({', '.join(f'{gain:+.1f}' for gain in accuracy)})"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    text = (
        f"Seeds {args.seeds}, each with its own puppets and cold start; test split, 256 clips; mean (standard "
        f"deviation over seeds).\n\n{table(args.runs, list(map(int, args.seeds.split(','))))}"
    )
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
