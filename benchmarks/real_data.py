"""Do hints, reasoning and reinforcement help a small policy of real weights on real people?

    python benchmarks/real_data.py --data DIR [--data2 FILE.csv] --weights weights/smol [--minutes M]
        [--only mosi,ravdess,both] [--seeds N] [--plan] [--workdir runs/real_data] [--out docs/real_data_study.md]

DIR holds text/mosi_label.csv, text/simsv2_label.csv and audio/ravdess/Actor_XX/*.flac. --data2 is a table of speech in
another language (id,text,label,mode,video,audio; labels in [-1, 1]). Prints its plan in hours first, most important
cells first, makes what is missing cell by cell, and writes the table anew after each: the same command goes on.
--minutes ends it before the next cell. --seeds bounds the seeds of every arm; --plan prints the plan and ends.

mosi     words of CMU-MOSI, official split, labels in [-3, 3]; greedy and expected scores
ravdess  acted speech, polarity from the voice alone, speakers 1-14 train, 15-16 validate, 17-20 judge
both     one policy for MOSI's words (labels / 3) and RAVDESS' voices with their words, judged on each alone

The cold start's traces are templates filled in from the label. GRPO is 60 steps of 8 prompts x 4 answers and keeps its
best adapter by the validation split (grpo.eval_every).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import real_clips
from smol_data import COLUMNS, FLOORS, cell, measured, over_seeds, readings

from emsa_jax.config.edge import from_config_dict, to_config_dict
from emsa_jax.data.data_options import ReadingOptions
from emsa_jax.errors import InputError
from emsa_jax.evaluation.result_files import read_predictions
from emsa_jax.experiments.arms import COLD, CONTINUED, DROP, NLL, OFF, PAPER, Arm
from emsa_jax.experiments.cells import Cells
from emsa_jax.jobs.stages import check_inputs, run_stages
from emsa_jax.manifest import write_atomic
from emsa_jax.rollout.rollout_options import PromptOptions
from emsa_jax.runtime.programs import keep_compiled
from emsa_jax.runtime.run import open_run
from emsa_jax.settings.config import Config
from emsa_jax.settings.presets import smol

LABELS = {"format": "label_only", "sft.targets": "labels", "sampling.max_completion_length": 16}
CLASSES = LABELS | {"format": "class_only", "evaluate.decode": "greedy"}
LABEL_ONLY = Arm("label_only", "label-only SFT", "sft", start=LABELS)
THINK = {"format": "think_first"}
ARMS: dict[str, tuple[tuple[Arm, int], ...]] = {  # with their seeds, most important first
    "mosi": (
        (LABEL_ONLY, 5),
        (COLD, 5),
        (OFF, 5),
        (PAPER, 5),
        (DROP, 3),
        (NLL, 3),
        (CONTINUED, 3),
        (replace(PAPER, name="think_first", title="reasoning before the label: SFT + RL, hint", start=THINK), 3),
    ),
    "ravdess": (
        (replace(LABEL_ONLY, title="alignment + class-only SFT", start=CLASSES), 3),
        (replace(COLD, title="alignment + cold start"), 3),
        (OFF, 3),
        (PAPER, 3),
    ),
    "both": (
        (replace(COLD, title="cold start on both"), 1),
        (
            Arm(
                "cold_dropped",
                "cold start on both, a modality left out at random",
                "sft",
                start={"modality_dropout": {"text": 0.3, "audio": 0.3, "video": 0.0}},
            ),
            1,
        ),
    ),
}
QUESTIONS = (  # (what is asked, arm, arm that it is compared with)
    ("hints over plain GRPO", "paper", "off"),
    ("hints over dropping hard samples", "paper", "drop_hard"),
    ("hints over SFT for as many tokens", "paper", "continued"),
    ("hints over the cold start", "paper", "cold"),
    ("plain GRPO over its start", "off", "cold"),
    ("reasoning over labels alone", "cold", "label_only"),
    ("Hint-GRPO over labels alone", "paper", "label_only"),
    ("reasoning before the label over after it", "think_first", "paper"),
)
HOURS = {"mosi": 0.7, "ravdess": 0.5, "both": 0.8}  # a cell that was not made yet, on two quiet cores


@dataclass(frozen=True, kw_only=True)
class Study:
    """One data set: its cells, and the arms with the number of their seeds."""

    name: str
    cells: Cells
    arms: tuple[tuple[Arm, int], ...]

    def seeds(self, arm: Arm) -> list[int]:
        """The seeds of the cells of an arm that were made."""
        wanted = next(count for row, count in self.arms if row is arm)
        return [seed for seed in range(wanted) if self.cells.done(arm, seed)]

    def readings(self, arm: Arm, seed: int) -> dict[str, tuple[list[dict], list]]:
        """How the answers of a cell are read -> (rows of its predictions, what they give); of `both`, by data set."""
        rows = read_predictions(self.cells.predictions(arm, seed))
        if self.name != "both":
            kind = "mosi" if self.name == "mosi" else "ravdess"
            return {how: (rows, read) for how, read in given(kind, arm, rows).items()}
        voices = [row for row in rows if row["id"].startswith("03-01-")]
        words = [row for row in rows if not row["id"].startswith("03-01-")]
        return {
            name: (part, given("ravdess", arm, part)["greedy"]) for name, part in (("words", words), ("voices", voices))
        }


def given(kind: str, arm: Arm, rows: Sequence[Mapping]) -> dict[str, list[tuple]]:
    """How answers are read -> (score, polarity) of each clip."""
    return readings(kind, rows, arm.start.get("format", "dc"))


def base_of(name: str, args: argparse.Namespace) -> Config:
    """The config that the arms of a study change."""
    data, source = args.data.absolute(), args.workdir.absolute() / "sources"
    base = smol()
    fields = to_config_dict(base)
    fields.policy = str(args.weights.absolute())
    fields.format = "dc"
    fields.stages = ("prepare", "sft", "grpo", "evaluate")
    fields.sampling.max_completion_length = 64
    fields.sft.targets = "traces"
    fields.grpo.optimizer.learning_rate = 5e-5
    if name == "mosi":
        fields.data = str(real_clips.write_table(source / "mosi" / "clips.csv", real_clips.mosi(data)))
        fields.score_range = (-3.0, 3.0)
        return from_config_dict(Config, fields)
    rows = real_clips.ravdess(data, words=name == "both")
    if name == "both":
        rows = [*rows, *real_clips.mosi(data, scale=1 / 3)]
    fields.data = str(real_clips.write_table(source / name / "clips.csv", rows))
    fields.score_range = (-1.0, 1.0)
    fields.stages = ("prepare", "align", "sft", "grpo", "evaluate")
    fields.evaluate.decode = "greedy"
    fields.lora.alpha = 32.0
    fields.encodings.path = str(args.workdir.absolute() / "encodings")
    fields.balance = True
    config = replace(from_config_dict(Config, fields), reward=replace(base.reward, class_balance="inverse"))
    if name == "both":
        return replace(config, prompt=PromptOptions(modalities=("text", "audio"), capitals="lowered"))
    config = replace(config, prompt=PromptOptions(modalities=("audio",)))
    return replace(
        config, hint=replace(config.hint, metric="accuracy"), sft=replace(config.sft, max_steps=60, eval_every=20)
    )


def open_studies(args: argparse.Namespace) -> list[Study]:
    studies = []
    for name in args.only.split(","):
        if name not in ARMS:
            raise InputError(f"--only: {name!r} is none of {', '.join(ARMS)}")
        cells = Cells(args.workdir / name, base_of(name, args), check_inputs=check_inputs, run_stages=run_stages)
        arms = tuple((arm, min(seeds, args.seeds)) for arm, seeds in ARMS[name])
        studies.append(Study(name=name, cells=cells, arms=arms))
    return studies


def plan(studies: Sequence[Study]) -> list[tuple[Study, Arm, int]]:
    """The cells that are missing: first seeds of all studies before second ones."""
    seeds = range(max(count for study in studies for _, count in study.arms))
    return [
        (study, arm, seed)
        for seed in seeds
        for study in studies
        for arm, count in study.arms
        if seed < count and not study.cells.done(arm, seed)
    ]


def hours(study: Study, arm: Arm) -> float:
    """What a cell takes: as a cell of the same arm took, if one was made."""
    for seed in study.seeds(arm):
        spent = study.cells.done(arm, seed)["seconds"]
        return (spent["start"] + spent["arm"]) / 3600
    return HOURS[study.name]


def measures(study: Study, arm: Arm, how: str) -> dict[int, Callable[[np.ndarray], dict]]:
    """Seed -> the metrics of the cell as a function of clips, for the cells that were made."""
    kind = "mosi" if study.name == "mosi" else "ravdess"
    found = {}
    for seed in study.seeds(arm):
        if how in (read := study.readings(arm, seed)):
            found[seed] = measured(kind, *read[how])
    return found


def section(study: Study) -> Iterator[str]:
    """The tables of a study, of the cells that there are."""
    kind = "mosi" if study.name == "mosi" else "ravdess"
    columns = COLUMNS[kind]
    ways = {"mosi": ("greedy", "expected"), "ravdess": ("greedy",), "both": ("words", "voices")}[study.name]
    yield f"## {study.name}\n"
    yield "| arm | read | seeds | " + " | ".join(columns) + " | hours a cell |"
    yield "|---|---|---|" + "---|" * (len(columns) + 1)
    by_name = {}
    for arm, _ in study.arms:
        for how in ways:
            if not (found := measures(study, arm, how)):
                continue
            by_name[arm.name, how] = found
            clips = len(study.readings(arm, next(iter(found)))[how][0])
            summary = over_seeds(list(found.values()), clips)
            cells = " | ".join(cell(summary[column]) for column in columns)
            yield f"| {arm.title} | {how} | {len(found)} | {cells} | {hours(study, arm):.2f} |"
    yield f"\nFloor: {FLOORS[kind]}.\n"
    lines = []
    for question, first, second in QUESTIONS:
        for how in ways:
            one, other = by_name.get((first, how), {}), by_name.get((second, how), {})
            lines += difference(question, how, one, other, study, first)
    for arm, _ in study.arms:
        if "expected" in ways:
            one, other = by_name.get((arm.name, "expected"), {}), by_name.get((arm.name, "greedy"), {})
            lines += difference(f"expected over greedy scores, {arm.title}", "", one, other, study, arm.name)
    if lines:
        yield "| paired | read | seeds | " + " | ".join(columns) + " | seeds that the first would need |"
        yield "|---|---|---|" + "---|" * (len(columns) + 1)
        yield from lines


def difference(question: str, how: str, one: Mapping, other: Mapping, study: Study, arm: str) -> list[str]:
    """One line: the mean paired difference of each metric with its 95% interval over seeds and clips."""
    seeds = sorted(one.keys() & other.keys())
    if not seeds:
        return []

    def minus(seed: int, at: np.ndarray) -> dict:
        first, second = one[seed](at), other[seed](at)
        return {name: first[name] - second[name] for name in first}

    row = next(row for row, _ in study.arms if row.name == arm)
    read = study.readings(row, seeds[0])
    clips = len(read[how or "greedy"][0])
    found = over_seeds([partial(minus, seed) for seed in seeds], clips)
    cells = [f"{m['mean']:+.3f} [{m['interval'][0]:+.3f}, {m['interval'][1]:+.3f}]" for m in found.values()]
    first = next(iter(found.values()))
    return [f"| {question} | {how} | {len(seeds)} | " + " | ".join(cells) + f" | {seeds_needed(first['seeds'])} |"]


def seeds_needed(differences: Sequence[float]) -> str:
    """How many seeds show a difference of this mean and spread with a power of 80% at the level of 5%."""
    if len(differences) < 2 or not (mean := float(np.mean(differences))):
        return "-"
    return str(max(2, int(np.ceil(((1.96 + 0.84) * np.std(differences, ddof=1) / mean) ** 2))))


def elsewhere(studies: Sequence[Study], args: argparse.Namespace) -> Iterator[str]:
    """Policies judged on other corpora: MOSI's on CH-SIMS v2 in English, RAVDESS' on --data2. Polarity accuracy."""
    yield "## Across corpora\n"
    for study in studies:
        if study.name == "mosi":
            rows = real_clips.simsv2_in_english(args.data.absolute())
            table = real_clips.write_table(args.workdir.absolute() / "sources" / "simsv2" / "clips.csv", rows)
        elif study.name == "ravdess" and args.data2:
            table = args.data2.absolute()
        else:
            if study.name == "ravdess":
                yield "RAVDESS' policies on another language: not measured (no --data2 was given)."
            continue
        for arm, _ in study.arms:
            if 0 not in study.seeds(arm) or arm.name not in ("label_only", "cold", "paper"):
                continue
            found = judged(study, arm, table, args.workdir / "elsewhere" / f"{study.name}_{arm.name}")
            m = found["metrics"]
            yield (
                f"- {study.name}, {arm.title}, seed 0, on {found['clips']} clips of {table.parent.name}: "
                f"polarity accuracy {m['Polarity_acc']:.3f}, UAR {m['Polarity_UAR']:.3f}"
            )


def judged(study: Study, arm: Arm, table: Path, workdir: Path) -> dict:
    """metrics.json of the policy of a cell on the test rows of another table, labels in [-1, 1]."""
    config = study.cells.trained(arm, 0)
    config = replace(
        config, stages=("prepare", "evaluate"), data=str(table), read=ReadingOptions(), score_range=(-1.0, 1.0)
    )
    out = workdir / "evaluate" / "zero_shot" / "train" / "metrics.json"
    if not out.exists():
        with open_run(workdir, config) as run:
            run_stages(run, config)
    return json.loads(out.read_text())


def report(studies: Sequence[Study]) -> str:
    """All tables of what there is."""
    return "\n".join(line for study in studies for line in (*section(study), ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--data2", type=Path)
    parser.add_argument("--weights", type=Path, default=Path("weights/smol"))
    parser.add_argument("--only", default=",".join(ARMS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--plan", action="store_true")
    parser.add_argument("--workdir", type=Path, default=Path("runs/real_data"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    args.workdir = args.workdir.absolute()
    studies = open_studies(args)
    missing = plan(studies)
    for study, arm, seed in missing:
        print(f"{hours(study, arm):5.2f} h  {study.name}, {arm.title}, seed {seed}")
    print(f"{sum(hours(study, arm) for study, arm, _ in missing):5.2f} h  in all, {len(missing)} cells", flush=True)
    if args.plan:
        return
    keep_compiled(args.workdir / "compilation_cache")
    begun = time.monotonic()
    for study, arm, seed in missing:
        if args.minutes and time.monotonic() - begun > 60 * args.minutes:
            print(f"{args.minutes:g} minutes are over; the same command goes on")
            break
        if not study.cells.done(arm, seed):
            study.cells.make(arm, seed)
        if args.out:
            write_atomic(args.out, report(studies).encode())
    text = "\n".join([report(studies), *elsewhere(studies, args)])
    print(text)
    if args.out:
        write_atomic(args.out, text.encode() + b"\n")


if __name__ == "__main__":
    main()
