"""One cell of a table: an arm and a seed, trained, judged, and kept."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from emsa_jax.config.edge import digest, to_dict
from emsa_jax.data.data_options import CrossDataset
from emsa_jax.errors import InputError
from emsa_jax.evaluation.prefix_logp import prefix_logps
from emsa_jax.experiments.arms import Arm, changed, lengthened, swapped
from emsa_jax.jobs.evaluate import read_rows
from emsa_jax.jobs.stages import check_inputs, run_stages
from emsa_jax.manifest import write_atomic
from emsa_jax.policy import peft
from emsa_jax.policy.checkpoint import open_checkpoint
from emsa_jax.rewards.trigger import threshold
from emsa_jax.rollout.prompted_data import open_split
from emsa_jax.rollout.rollout_options import HintOptions
from emsa_jax.runtime.console import say
from emsa_jax.runtime.run import Run, open_run
from emsa_jax.settings.config import Config
from emsa_jax.training.artifacts import PUPPETS, policies, records_dir, taught_by, traces_file

SHARED = ("puppets", "records")  # of a world, linked into each cold start


class Cells:
    """Where the cells of an ablation lie, and how one is made.

    world, world_swapped        clips and records, the same for all seeds
    seed<S>/start_<hash>        a cold start: arms that differ in nothing before GRPO share it; hard.json
    seed<S>/<arm>               a run of GRPO from it
    cells/<arm>_<seed>.json     what came out
    """

    def __init__(self, root: Path, base: Config, cross_traces: str = "") -> None:
        self.root, self.base, self.cross_traces = root, base, cross_traces

    def path(self, arm: Arm, seed: int) -> Path:
        """The file of a cell."""
        return self.root / "cells" / f"{arm.name}_{seed}.json"

    def done(self, arm: Arm, seed: int) -> dict | None:
        """The cell, if it was made with the config at hand."""
        path = self.path(arm, seed)
        if not path.exists():
            return None
        cell = json.loads(path.read_text())
        return cell if cell["inputs"] == self._inputs(arm, seed) else None

    def make(self, arm: Arm, seed: int) -> dict:
        """Trains and judges what the cell needs; what is there already is kept."""
        begun = time.monotonic()
        start = self._start(arm, seed)
        started, used = time.monotonic(), time.process_time()
        if arm.continues:
            where, config = self._continue(arm, seed, start)
            policy = "sft"
        elif arm.stage != "grpo":
            where, config, policy = start, self._start_config(arm, seed), arm.stage
        elif arm.judges:
            where, config = self._judge(arm, seed, start)
            policy = "zero_shot"  # what a run of evaluation alone is given
        else:
            where, config = self._train(arm, seed, start)
            policy = "grpo"
        with open_run(where, config) as run:
            values = _measure(run, config, policy, _hard_set(start))
        if arm.judges:
            values["moved"] = _moved(where, self.root / f"seed{seed}" / arm.judges)
        ended = time.monotonic()
        cell = {
            "arm": arm.name,
            "seed": seed,
            "inputs": self._inputs(arm, seed),
            "values": values,
            "seconds": {
                "start": round(started - begun, 1),
                "arm": round(ended - started, 1),
                "cpu": round(time.process_time() - used, 1),
            },
        }
        self.path(arm, seed).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self.path(arm, seed), json.dumps(cell, indent=1).encode() + b"\n")
        return cell

    def _inputs(self, arm: Arm, seed: int) -> str:
        return digest(
            [
                to_dict(self.base),
                seed,
                arm.name,
                to_dict(dict(arm.changes)),
                to_dict(dict(arm.start)),
                arm.steps,
                arm.stage,
                arm.swapped,
                arm.continues,
            ]
        )

    def _config(self, arm: Arm, seed: int) -> Config:
        config = changed(self.base, arm.start)
        return replace(swapped(config, self.cross_traces) if arm.swapped else config, seed=seed)

    def _world(self, arm: Arm) -> Path:
        """Clips and records, made once with the base's seed."""
        where = self.root / ("world_swapped" if arm.swapped else "world")
        config = replace(self._config(Arm("", ""), self.base.seed), stages=("prepare",))
        config = replace(swapped(config, ""), stages=("prepare",)) if arm.swapped else config
        if arm.swapped and not where.exists() and (self.root / "world" / "puppets").exists():
            _link(self.root / "world" / "puppets", where / "puppets")
        check_inputs(config)
        with open_run(where, config) as run:
            run_stages(run, config)
        return where

    def _start_config(self, arm: Arm, seed: int) -> Config:
        config = self._config(arm, seed)
        judged = replace(config.evaluate, samples=config.grpo.group_size, resamples=0)  # its hard set is G answers'
        return replace(config, stages=("prepare", "sft", "evaluate"), evaluate=judged)

    def _start(self, arm: Arm, seed: int) -> Path:
        """The workdir of the cold start that an arm shares with others."""
        config = self._start_config(arm, seed)
        where = self.root / f"seed{seed}" / f"start_{digest(to_dict(config))[:8]}"
        if not (where / "hard.json").exists():
            world = self._world(arm)
            for part in SHARED:
                if (world / part).exists() and not (where / part).exists():
                    _link(world / part, where / part)
            say(f"cold start of seed {seed}: {where}")
            with open_run(where, config) as run:
                run_stages(run, config)
            _write_hard_set(where, config)
        return where

    def _train(self, arm: Arm, seed: int, start: Path) -> tuple[Path, Config]:
        config = self._from(arm, seed, start)
        config = replace(config, stages=("grpo", "evaluate"), grpo=lengthened(config.grpo, arm.steps))
        where = self.root / f"seed{seed}" / arm.name
        with open_run(where, config) as run:
            run_stages(run, config)
        return where, config

    def _continue(self, arm: Arm, seed: int, start: Path) -> tuple[Path, Config]:
        path = self.root / "cells" / f"{arm.continues}_{seed}.json"
        if not path.exists():
            raise InputError(f"{path}: {arm.name} goes on for as many tokens as that cell drew; make it first")
        seen = [row["num_tokens"] for row in _steps(start) if row["stage"] == "sft"]
        updates = max(1, round(json.loads(path.read_text())["values"]["tokens"] / np.mean(seen)))
        config = self._from(arm, seed, start)
        with open_run(start, cold := self._start_config(arm, seed)) as run:
            traces = traces_file(run, cold)
        sft = replace(config.sft, epochs=0.0, max_steps=updates, patience=updates)  # nothing stops it before
        config = replace(config, stages=("sft", "evaluate"), sft=sft, traces=str(traces))
        where = self.root / f"seed{seed}" / arm.name
        with open_run(where, config) as run:
            run_stages(run, config)
        return where, config

    def _judge(self, arm: Arm, seed: int, start: Path) -> tuple[Path, Config]:
        trained = self.root / f"seed{seed}" / arm.judges / "grpo" / "adapter"
        config = replace(self._from(arm, seed, start), stages=("evaluate",), adapter=str(trained))
        where = self.root / f"seed{seed}" / arm.name
        with open_run(where, config) as run:
            run_stages(run, config)
        return where, config

    def _from(self, arm: Arm, seed: int, start: Path) -> Config:
        """The config of an arm that begins where a cold start ended, with its records."""
        config = changed(self._config(arm, seed), arm.changes)
        policy, adapter = start / "sft" / "policy", start / "sft" / "adapter"
        known = PUPPETS.get(config.data, config.train_set)
        cross = PUPPETS.get(config.cross.data, config.cross)
        # as many as of the cold start, whose answers are asked for once
        samples = config.evaluate.samples and config.grpo.group_size
        judged = replace(config.evaluate, samples=samples, resamples=0, answers=str(start / "evaluate" / "answers"))
        other = config.cross
        if other.data:
            other = CrossDataset(
                _records(start, "cross", other.data),
                score_range=cross.score_range,
                language=cross.language,
                asked_as=other.asked_as,
            )
        return replace(
            config,
            policy=str(policy) if policy.is_dir() else config.policy,
            evaluate=judged,
            traces="",
            adapter=str(adapter) if adapter.is_dir() else "",
            data=_records(start, "train", config.data),
            dataset="",
            score_range=known.score_range,
            language=known.language,
            cross=other,
        )


def _records(start: Path, role: str, data: str) -> str:
    """A cold start's records; those of a data set that came prepared lie where it does."""
    made = start / "records" / role
    return str(made) if made.is_dir() else data


def _link(source: Path, target: Path) -> None:
    """A copy that takes no room: none of these files is ever written into."""
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(source, part, copy_function=os.link)
    part.rename(target)


def _write_hard_set(start: Path, config: Config) -> None:
    """hard.json: the clips of the held-out split whose G answers under the cold start all stay below the threshold."""
    limit = threshold(HintOptions(), config.reward)
    rows = read_rows(start / "evaluate" / "sft" / "train" / "predictions.jsonl")
    hard = [row["id"] for row in rows if row["target"] is not None and max(row["sampled_rewards"]) < limit]
    content = {"threshold": limit, "answers": config.evaluate.samples, "clips": len(rows), "hard": hard}
    write_atomic(start / "hard.json", json.dumps(content, indent=1).encode() + b"\n")


def _hard_set(start: Path) -> set[str]:
    return set(json.loads((start / "hard.json").read_text())["hard"])


def _measure(run: Run, config: Config, policy: str, hard: set[str]) -> dict[str, float | None]:
    """What a table shows of a policy."""
    values: dict[str, float | None] = {}
    for role, suffix in (("train", ""), ("cross", "_cross")):
        path = run.path("evaluate", policy, role, "metrics.json")
        if not path.exists():
            continue
        found = json.loads(path.read_text())
        metrics = found["metrics"]
        values |= {
            f"accuracy{suffix}": metrics["Polarity_acc"],
            f"mae{suffix}": metrics["MAE"],
            f"corr{suffix}": metrics["Corr"],
            f"f1{suffix}": metrics["Polarity_F1_macro"],
        }
        if not suffix:
            values |= {
                "reward": found["rewards"]["total"],
                "reward_sampled": found["mean_sampled_reward"],
                "parsed": metrics["parse_rate"],
                "floor": (found["floor"] or {}).get("Polarity_acc"),
            }
    rows = read_rows(run.path("evaluate", policy, "train", "predictions.jsonl"))
    right = [row["polarity"] == row["target_polarity"] for row in rows if row["id"] in hard]
    values |= {"hard_accuracy": float(np.mean(right)) if right else None, "hard_clips": float(len(right))}
    directory, adapter_dir = policies(run, config)[policy]
    checkpoint = open_checkpoint(directory, config.dtype, attention=config.attention)
    adapter = peft.load_adapter(adapter_dir, checkpoint.config) if adapter_dir else None
    split = open_split(
        config,
        records_dir(run, config, "train"),
        checkpoint,
        config.evaluate.split,
        config.evaluate.max_clips,
        taught=taught_by(run, config, "train"),
    )
    members = [i for i, entry in enumerate(split.entries) if entry.id in hard]
    logps = prefix_logps(config, split, adapter, members)
    values["prefix_logp"] = float(np.nanmean(logps)) if np.isfinite(logps).any() else None
    drawn = [row["num_tokens_drawn"] for row in _steps(run.workdir) if row["stage"] == "grpo"]
    values["tokens"] = float(sum(drawn)) if drawn and policy == "grpo" else None
    return values


def _steps(where: Path) -> list[dict]:
    log = where / "metrics.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def _moved(where: Path, whole: Path) -> float:
    """The share of clips whose polarity is another than that of the arm that saw all."""
    now = {row["id"]: row["polarity"] for row in read_rows(where / "evaluate/zero_shot/train/predictions.jsonl")}
    before = {row["id"]: row["polarity"] for row in read_rows(whole / "evaluate/grpo/train/predictions.jsonl")}
    return float(np.mean([now[id] != before[id] for id in now]))
