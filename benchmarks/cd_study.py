"""CD-GRPO on annotated puppets: what the concept reward adds to plain GRPO, and concept hints to that.

    python benchmarks/cd_study.py [--seeds 0,1,2] [--arms label_only,plain,cd,cd_hint] [--classes 3] [--steps 192]
                                  [--group 4] [--temperature 1.0] [--workdir runs/cd_study]
                                  [--out benchmarks/results/cd_study.md]

For each seed: label-only SFT on every label; one cold start on the teacher's traces, and from it GRPO with the rewards
of format and accuracy alone, CD-GRPO, and CD-GRPO whose hard groups are told sentiment and concepts. All are judged
on the test split. Beside them: always naming the commonest label, and a classifier on what is drawn. Finished parts are
kept: the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from dataclasses import replace
from pathlib import Path

from emsa_jax.answers.answer_options import ConceptOptions
from emsa_jax.answers.concept_table import CH_CEMS
from emsa_jax.data.puppets import concept_ceiling
from emsa_jax.jobs.stages import run_stages
from emsa_jax.rewards.reward_options import RewardOptions
from emsa_jax.runtime.programs import keep_compiled
from emsa_jax.runtime.run import open_run
from emsa_jax.settings.config import Config
from emsa_jax.settings.presets import embedded_concepts

SHARED = ("puppets", "records", "policy", "sft", "stages.json", "evaluate")
NAMES = {
    "label_only": "label-only SFT, every label",
    "sft": "cold start on traces",
    "plain": "GRPO: format + accuracy",
    "cd": "CD-GRPO",
    "cd_hint": "CD-GRPO with concept hints",
}
CONCEPTS = [concept.name for concept in CH_CEMS]
COLUMNS = ("sentiment", "WF1", "mean of concepts", *CONCEPTS, "well-formed")


def arms(config: Config) -> dict[str, Config]:
    """What is run from the cold start."""
    off = replace(config.hint, mode="off")
    plain = RewardOptions(weights={"format": 1.0, "accuracy": 1.0, "concept": 0.0})
    return {"plain": replace(config, hint=off, reward=plain), "cd": replace(config, hint=off), "cd_hint": config}


def run(workdir: Path, config: Config, cache: Path) -> None:
    """Runs what is not done yet, and adds the seconds that it took to seconds.txt."""
    begun = time.monotonic()
    with open_run(workdir, config) as opened:
        keep_compiled(cache)
        run_stages(opened, config)
    with open(workdir / "seconds.txt", "a") as file:
        file.write(f"{time.monotonic() - begun:.0f}\n")


def variant(base: Path, name: str) -> Path:
    """A workdir that shares what the cold start left."""
    workdir = base.with_name(f"{base.name}_{name}")
    if not workdir.exists():
        part = workdir.with_name(workdir.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for item in SHARED:
            source = base / item
            (shutil.copytree if source.is_dir() else shutil.copyfile)(source, part / item)
        part.rename(workdir)
    return workdir


def read(workdir: Path, policy: str) -> dict:
    """What an evaluation found, as the columns of the table."""
    path = workdir / "evaluate" / policy / "train" / "metrics.json"
    found = json.loads(path.read_text())
    concepts = found["concepts"] or {}
    return {
        "sentiment": found["metrics"]["ACC"],
        "WF1": found["metrics"]["WF1"],
        "well-formed": found["format_rate"],
        "mean of concepts": concepts["mean"]["ACC"] if concepts else None,
        **{name: concepts[name]["ACC"] if concepts else None for name in CONCEPTS},
        "floor": {
            "sentiment": found["floor"]["ACC"],
            **{name: concepts[name]["majority"] for name in CONCEPTS if concepts},
        },
    }


def study(
    seed: int, root: Path, wanted: list[str], classes: int, steps: int, group: int, temperature: float
) -> dict[str, dict]:
    """Arm -> what came out for one seed."""
    cache = root / "compilation_cache"
    config = replace(embedded_concepts(), seed=seed, concepts=ConceptOptions(classes))
    config = replace(
        config,
        evaluate=replace(config.evaluate, samples=0),
        grpo=replace(config.grpo, max_steps=steps, group_size=group),
        sampling=replace(config.sampling, temperature=temperature),
    )
    base = root / f"seed{seed}"
    run(base, replace(config, stages=("prepare", "sft", "evaluate")), cache)
    found = {"sft": read(base, "sft"), "ceiling": concept_ceiling(base / "puppets" / "concepts_en", classes)}
    for name, arm in arms(config).items():
        if name in wanted:
            workdir = variant(base, name)
            run(workdir, replace(arm, stages=("prepare", "grpo", "evaluate")), cache)  # over the same cold start
            found[name] = read(workdir, "grpo") | hinted(workdir)
    if "label_only" in wanted:
        labels = replace(
            config,
            format="class_only",
            stages=("prepare", "sft", "evaluate"),
            hint=replace(config.hint, mode="off"),
            sft=replace(config.sft, targets="labels"),
            sampling=replace(config.sampling, max_completion_length=8),
        )
        run(root / f"seed{seed}_label_only", labels, cache)
        found["label_only"] = read(root / f"seed{seed}_label_only", "sft")
    return found


def hinted(workdir: Path) -> dict[str, float]:
    """Over the last half of the steps: groups whose answers all earn the same, and so teach nothing; hard groups, and
    how many of the hinted ones were rescued."""
    rows = [
        row for row in map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines()) if row["stage"] == "grpo"
    ]
    rows = rows[len(rows) // 2 :]
    rescued = [row["hint/rescued_rate"] for row in rows if "hint/rescued_rate" in row]
    return {
        "equal": statistics.mean(row["frac_reward_zero_std"] for row in rows),
        "hard": statistics.mean(row["hint/trigger_rate"] for row in rows),
        "rescued": statistics.mean(rescued) if rescued else None,
    }


def table(found: dict[int, dict], classes: int) -> str:
    """The study as Markdown."""
    lines = [
        f"Annotated puppets, {classes} classes, seeds {', '.join(map(str, found))}; accuracies on the test split, "
        "256 clips: mean (standard deviation over seeds).",
        "",
        "| policy | " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * (len(COLUMNS) + 1),
    ]
    for name, shown in NAMES.items():
        rows = [arms[name] for arms in found.values() if name in arms]
        if rows:
            lines.append(f"| {shown} | " + " | ".join(_cell([row[c] for row in rows]) for c in COLUMNS) + " |")
    floors = [arms["sft"]["floor"] for arms in found.values()]
    ceilings = [arms["ceiling"] for arms in found.values()]
    for shown, rows in (("floor: the commonest label", floors), ("ceiling: a classifier on what is drawn", ceilings)):
        lines.append(f"| {shown} | " + " | ".join(_cell([row.get(c) for row in rows]) for c in COLUMNS) + " |")
    lines.append("")
    for name in ("plain", "cd", "cd_hint"):
        rows = [arms for arms in found.values() if name in arms]
        for against in ("sft", "plain", "cd"):
            pairs = [(arms[name], arms[against]) for arms in rows if against in arms and against != name]
            if pairs and list(NAMES).index(against) < list(NAMES).index(name):
                text = "; ".join(f"{c} {_gain(pairs, c)}" for c in ("sentiment", "mean of concepts"))
                lines.append(f"- {NAMES[name]} over {NAMES[against]}, in points: {text}")
    for name in ("plain", "cd", "cd_hint"):
        rows = [arms[name] for arms in found.values() if name in arms]
        if rows:
            lines.append(
                f"- {NAMES[name]}, last half of the steps: groups whose answers all earn the same "
                f"{_cell([r['equal'] for r in rows])}, hard groups {_cell([r['hard'] for r in rows])}, "
                f"rescued by hints {_cell([r['rescued'] for r in rows])}"
            )
    return "\n".join(lines)


def _cell(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    return f"{statistics.mean(known):.3f}" + (f" ({statistics.stdev(known):.3f})" if len(known) > 1 else "")


def _gain(pairs: list[tuple[dict, dict]], column: str) -> str:
    gains = [100 * (after[column] - before[column]) for after, before in pairs]
    return f"{statistics.mean(gains):+.1f} ({', '.join(f'{gain:+.1f}' for gain in gains)})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--arms", default="label_only,plain,cd,cd_hint", help="what to run beside the cold start")
    parser.add_argument("--classes", type=int, choices=(3, 5), default=3)
    parser.add_argument("--steps", type=int, default=192, help="of GRPO, each of 16 prompts: 3 epochs, as in the paper")
    parser.add_argument("--group", type=int, default=4, help="answers to each prompt; 4 in the paper")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--workdir", type=Path, default=Path("runs/cd_study"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    found = {}
    for seed in map(int, args.seeds.split(",")):
        found[seed] = study(
            seed, args.workdir.absolute(), args.arms.split(","), args.classes, args.steps, args.group, args.temperature
        )
        print(table(found, args.classes), flush=True)  # what there is so far
    if args.out:
        args.out.write_text(table(found, args.classes) + "\n")


if __name__ == "__main__":
    main()
