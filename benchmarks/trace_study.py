"""The filter on puppets: which planted faults it finds, and what learning from filtered traces is worth.

    python benchmarks/trace_study.py --filter                     precision and recall for each fault; seconds
    python benchmarks/trace_study.py [--seeds 0,1,2]              and SFT on filtered against unfiltered traces
        [--updates 120] [--arms unfiltered,filtered,clean] [--workdir runs/trace_study] [--out FILE.md]

The template teacher judges by face and voice and makes no mistake of its own; 30% of its answers get one fault each
(benchmarks/trace_faults.py). "Filtered" learns from the record as configs/sft.py does; "unfiltered" from every answer
as it was written, "clean" from the same clips' answers without faults; all for as many updates. What is finished is
kept.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from collections import Counter
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
from trace_faults import MEANT, Written, write

from emsa_jax.answers.dc import DC
from emsa_jax.answers.recorded_traces import RECORD, RECORD_FORMAT
from emsa_jax.answers.traces import Trace
from emsa_jax.append_log import AppendLog
from emsa_jax.data.data_options import CrossDataset
from emsa_jax.data.puppets.teacher import write_traces
from emsa_jax.data.puppets.world import DOMAINS, PuppetWorld, draw_world
from emsa_jax.data.sample import Sample as Clip
from emsa_jax.distill.checks import CHECKS, Truth
from emsa_jax.distill.distill_plan import DistillPlan, parsed_row
from emsa_jax.distill.distillation import now
from emsa_jax.distill.progress import Progress
from emsa_jax.distill.teacher_options import FilterOptions, TeacherOptions
from emsa_jax.distill.teacher_prompts import read_prompts
from emsa_jax.jobs.stages import run_stages
from emsa_jax.rollout.prompts import answer_ids
from emsa_jax.runtime.programs import keep_compiled
from emsa_jax.runtime.run import open_run
from emsa_jax.settings.config import Config
from emsa_jax.settings.presets import embedded_papers
from emsa_jax.training import sft as sft_job

FORMAT = DC((-3.0, 3.0))
SHARE = 0.3
LONGEST = 96  # tokens; what is longer is cut: repeated texts, and those in a script that tiny spells by bytes
ARMS = ("unfiltered", "filtered", "clean")
COLUMNS = {
    "reward, sampled": lambda r: r["mean_sampled_reward"],
    "reward, greedy": lambda r: r["rewards"]["total"],
    "parsed": lambda r: r["format_rate"],
    "polarity acc": lambda r: r["metrics"]["Polarity_acc"],
    "MAE": lambda r: r["metrics"]["MAE"],
    "Corr": lambda r: r["metrics"]["Corr"],
}


def planted(seed: int, share: float, clips: float = 1.0, num_train: int = 1024) -> list[tuple[Clip, Written]]:
    """(clip, the teacher's answer) of train clips; `share` of the answers have a fault, each kind as often."""
    options = PuppetWorld(seed=seed, num_train=num_train, noise=0.0, fooled=0.0, teacher_error=0.0, trace_share=clips)
    puppets = {p.id: p for p in draw_world(options)}
    traces = write_traces(list(puppets.values()), options)
    rng = np.random.default_rng((seed, 17))
    faulty = rng.permutation(len(traces)) < round(share * len(traces))
    kinds = np.resize(rng.permutation(list(MEANT)), len(traces))[rng.permutation(len(traces))]
    made = []
    for i, trace in enumerate(traces):
        p = puppets[trace["id"]]
        fault = str(kinds[i]) if faulty[i] else ""
        made.append((Clip(p.id, p.text, p.score, "train"), write(trace, i, fault, FORMAT, rng)))
    return made


def plan() -> DistillPlan:
    prompts = read_prompts(("dc", "refine", "judge"))
    return DistillPlan(
        method="dc", format=FORMAT, prompts=prompts, teacher=TeacherOptions(model="templates"), filter=FilterOptions()
    )


def truth_of(clip: Clip, written: Written) -> Truth:
    return Truth(clip.score, DOMAINS["en"].language, written.modalities)


def filter_table(seeds: list[int]) -> str:
    """Precision and recall for each fault, over the seeds' 1,024 answers each."""
    rows, number, asked = [], Counter(), plan()
    for seed in seeds:
        for clip, written in planted(seed, SHARE):
            found = asked.check(written.answer, written.finish, truth_of(clip, written))["checks"]
            rows.append((written.fault, {name for name in CHECKS if found[name]}))
            number[written.fault] += 1
    faulty = sum(bool(fault) for fault, _ in rows)
    lines = [
        f"{len(rows):,} answers (seeds {', '.join(map(str, seeds))}), {faulty:,} with a fault.",
        "",
        "| planted fault | answers | rejected (recall) | by the check meant for it | of all that this check "
        "rejects, have any fault (precision) | have this fault |",
        "|---|---|---|---|---|---|",
    ]
    for fault, check in MEANT.items():
        those = [found for planted_fault, found in rows if planted_fault == fault]
        flagged = [planted_fault for planted_fault, found in rows if check in found]
        cells = [_share(sum(map(bool, those)), len(those)), _share(sum(check in found for found in those), len(those))]
        cells += [_share(sum(map(bool, flagged)), len(flagged)), _share(flagged.count(fault), len(flagged))]
        lines.append(f"| {fault} | {number[fault]} | {' | '.join(cells if check else [cells[0], '-', '-', '-'])} |")
    rejected = [fault for fault, found in rows if found]
    every = [found for fault, found in rows if fault]
    lines.append(
        f"| all | {len(every)} | {_share(sum(map(bool, every)), len(every))} | | "
        f"{_share(sum(map(bool, rejected)), len(rejected))} | |"
    )
    sound = [found for fault, found in rows if not fault]
    lines += ["", f"Of {len(sound):,} answers without a fault, {sum(map(bool, sound))} were rejected."]
    return "\n".join(lines)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.3f} ({part}/{whole})" if whole else "-"


def write_record(out: Path, made: list[tuple[Clip, Written]]) -> None:
    """What a distillation would have recorded of these answers."""
    out.mkdir(parents=True, exist_ok=True)
    (out / RECORD).unlink(missing_ok=True)
    record, asked = AppendLog(out / RECORD, RECORD_FORMAT, Progress().take), plan()
    record.append(asked.settings())
    for clip, written in made:
        truth = truth_of(clip, written)
        decided = asked.check(written.answer, written.finish, truth)
        record.append(
            {
                "kind": "attempt",
                "id": clip.id,
                "step": "write",
                "attempt": 0,
                "ask": asked.asks["write"],
                "teacher": "templates",
                "answer": written.answer,
                "finish": written.finish,
                "truth": asked.truth_row(truth),
                "parsed": parsed_row(FORMAT, written.answer),
                **decided,
                "tokens": {"prompt": 0, "answer": 0},
                "requests": 0,
                "time": {"ended": now()},
            }
        )
    record.close()


def as_written(made: list[tuple[Clip, Written]]):
    """Stand-ins for what SFT reads, so that it learns every answer as it was written."""
    texts = {clip.id: written.answer for clip, written in made}
    traces = {clip.id: Trace(clip.id, "Neutral", "-", clip.score) for clip, _ in made}

    def table(checkpoint, train, traces, limit):
        rows = [answer_ids(checkpoint, texts[entry.id])[:limit] for entry in train.entries]
        found = np.full((len(rows), -(-max(map(len, rows)) // 8) * 8), -1, np.int32)
        for i, row in enumerate(rows):
            found[i, : len(row)] = row
        return found

    return mock.patch.multiple(sft_job, kept_traces=lambda *_: traces, answer_table=table)


def study(seed: int, root: Path, arms: list[str], updates: int) -> dict[str, dict]:
    """What each arm came to on one seed's test split."""
    base = root / f"seed{seed}"
    config = replace(embedded_papers(), seed=seed, cross=CrossDataset())
    sft = replace(config.sft, max_steps=updates, eval_every=updates // 2, patience=99)
    config = replace(
        config,
        sampling=replace(config.sampling, max_completion_length=LONGEST),
        sft=sft,
        puppets=replace(config.puppets, noise=0.0),
        evaluate=replace(config.evaluate, samples=1),
    )
    _run(base, replace(config, stages=("prepare",)), root)
    results = {}
    for arm in arms:
        workdir = root / f"seed{seed}_{arm}"
        made = planted(seed, 0.0 if arm == "clean" else SHARE, 0.25)
        write_record(root / f"traces{seed}_{arm}", made)
        if not workdir.exists():
            part = workdir.with_name(workdir.name + ".part")
            shutil.rmtree(part, ignore_errors=True)
            for item in ("puppets", "records", "policy"):
                shutil.copytree(base / item, part / item)
            part.rename(workdir)
        asked = replace(config, stages=("sft", "evaluate"), traces=str(root / f"traces{seed}_{arm}"))
        with as_written(made) if arm == "unfiltered" else mock.patch.dict({}):
            _run(workdir, asked, root)
        results[arm] = json.loads((workdir / "evaluate" / "sft" / "train" / "metrics.json").read_text())
    return results


def _run(workdir: Path, config: Config, root: Path) -> None:
    with open_run(workdir, config) as opened:
        keep_compiled(root / "compilation_cache")
        run_stages(opened, config)


def study_table(found: dict[int, dict]) -> str:
    lines = [
        f"Seeds {', '.join(map(str, found))}; mean (standard deviation over seeds); test split, 256 clips.",
        "",
        "| learned from | " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * (len(COLUMNS) + 1),
    ]
    for arm in next(iter(found.values())):
        cells = []
        for column in COLUMNS.values():
            values = [value for value in (column(results[arm]) for results in found.values()) if value is not None]
            spread = f" ({statistics.stdev(values):.3f})" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.3f}{spread}" if values else "-")
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    gains = {
        label: [column(r["filtered"]) - column(r["unfiltered"]) for r in found.values()]
        for label, column in COLUMNS.items()
        if label != "Corr"
    }
    lines += [
        "",
        "Filtered less unfiltered, each seed: "
        + "; ".join(f"{label} {', '.join(f'{x:+.3f}' for x in values)}" for label, values in gains.items())
        + ".",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--filter", action="store_true", help="the filter alone; nothing is learned")
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--updates", type=int, default=120)
    parser.add_argument("--workdir", type=Path, default=Path("runs/trace_study"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    seeds = [int(seed) for seed in args.seeds.split(",")]
    text = filter_table(seeds)
    print(text, flush=True)
    if not args.filter:
        found = {}
        for seed in seeds:
            found[seed] = study(seed, args.workdir.absolute(), args.arms.split(","), args.updates)
            print(f"\n{study_table(found)}", flush=True)
        text += f"\n\nSFT, {args.updates} updates of 16 answers. {study_table(found)}"
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
