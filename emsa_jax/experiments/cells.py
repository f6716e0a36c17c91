"""One cell of a table: an arm and a seed, trained, evaluated, and kept."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from emsa_jax.answers.formats import format_class
from emsa_jax.config.edge import digest, pick, results_digest, to_dict
from emsa_jax.data.dataset_options import CrossDataset
from emsa_jax.data.datasets import PUPPETS
from emsa_jax.errors import InputError
from emsa_jax.experiments.arms import Arm, C, changed, lengthened, swapped
from emsa_jax.experiments.cell_values import CellSettings, cell_values, hard_set, moved, read_steps, write_hard_set
from emsa_jax.json_file import finite_json
from emsa_jax.manifest import write_atomic
from emsa_jax.runtime.console import say
from emsa_jax.runtime.run import Run, open_run
from emsa_jax.training.artifacts import stage_summary, traces_file

LINKED = ("puppets", "records")  # of a world, linked into each cold start


class Cells:
    """Where the cells of an ablation lie, and how one is made.

    world, world_swapped        clips and records, the same for all seeds
    seed<S>/start_<hash>        a cold start: the same for arms that differ in nothing before GRPO; hard.json
    seed<S>/<arm>               a run of GRPO from it
    cells/<arm>_<seed>.json     what came out
    """

    def __init__(
        self,
        root: Path,
        base: C,
        cross_traces: str = "",
        *,
        check_inputs: Callable[[C], None],
        run_stages: Callable[[Run, C], None],
    ) -> None:
        """base: the config of a run, of which the arms are changes. cross_traces: a teacher's traces of the other
        domain. check_inputs, run_stages: look at what a config names, and run its stages."""
        self.root, self.base, self.cross_traces = root, base, cross_traces
        self.check_inputs, self.run_stages = check_inputs, run_stages

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
        """Trains and evaluates what the cell needs; what is finished already is kept."""
        begun = time.monotonic()
        start = self._start(arm, seed)
        started, used = time.monotonic(), time.process_time()
        if arm.continues:
            where, config = self._continue(arm, seed, start)
            policy = "sft"
        elif arm.stage != "grpo":
            where, config, policy = start, self._start_config(arm, seed), arm.stage
        elif arm.evaluates:
            where, config = self._evaluate(arm, seed, start)
            policy = "zero_shot"  # what a run of evaluation alone is given
        else:
            where, config = self._train(arm, seed, start)
            policy = "grpo"
        with open_run(where, config) as run:
            values = cell_values(run, pick(CellSettings, config), policy, hard_set(start))
        if arm.evaluates:
            values["moved"] = moved(where, self.root / f"seed{seed}" / arm.evaluates)
        ended = time.monotonic()
        cell = {
            "arm": arm.name,
            "seed": seed,
            "inputs": self._inputs(arm, seed),
            "values": finite_json(values),
            "status": stage_summary(where, policy).get("status", ""),
            "seconds": {
                "start": round(started - begun, 1),
                "arm": round(ended - started, 1),
                "cpu": round(time.process_time() - used, 1),
            },
        }
        self.path(arm, seed).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self.path(arm, seed), json.dumps(cell, indent=1, allow_nan=False).encode() + b"\n")
        return cell

    def predictions(self, arm: Arm, seed: int) -> Path:
        """What the policy of a cell that was made answered to the test split of the training set."""
        where, policy = self.root / f"seed{seed}" / arm.name, "grpo"
        if arm.continues:
            policy = "sft"
        elif arm.evaluates:
            policy = "zero_shot"
        elif arm.stage != "grpo":
            where, policy = self._start_dir(arm, seed), arm.stage
        return where / "evaluate" / policy / "train" / "predictions.jsonl"

    def trained(self, arm: Arm, seed: int) -> C:
        """The config that asks the policy of a cell that was made, whose training set and stages remain the cell's."""
        config = self._from(arm, seed, self._start_dir(arm, seed))
        stage = "sft" if arm.continues else arm.stage
        adapter = self.root / f"seed{seed}" / (arm.evaluates or arm.name) / stage / "adapter"
        return replace(config, adapter=str(adapter)) if adapter.is_dir() else config

    def _inputs(self, arm: Arm, seed: int) -> str:
        return digest(
            [
                results_digest(self.base),
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

    def _config(self, arm: Arm, seed: int) -> C:
        config = changed(self.base, arm.start)
        return replace(swapped(config, self.cross_traces) if arm.swapped else config, seed=seed)

    def _world(self, arm: Arm) -> Path:
        """Clips and records, made once with the base's seed."""
        where = self.root / ("world_swapped" if arm.swapped else "world")
        config = replace(self._config(Arm("", ""), self.base.seed), stages=("prepare",))
        config = replace(swapped(config, ""), stages=("prepare",)) if arm.swapped else config
        if arm.swapped and not where.exists() and (self.root / "world" / "puppets").exists():
            _link(self.root / "world" / "puppets", where / "puppets")
        self.check_inputs(config)
        with open_run(where, config) as run:
            self.run_stages(run, config)
        return where

    def _start_config(self, arm: Arm, seed: int) -> C:
        config = self._config(arm, seed)
        evaluated = replace(config.evaluate, samples=config.grpo.group_size, resamples=0)  # its hard set is G answers'
        aligned = ("align",) if "align" in config.stages else ()
        return replace(config, stages=("prepare", *aligned, "sft", "evaluate"), evaluate=evaluated)

    def _start(self, arm: Arm, seed: int) -> Path:
        """The workdir of the cold start of an arm, which other arms may have in common with it."""
        config, where = self._start_config(arm, seed), self._start_dir(arm, seed)
        if not (where / "hard.json").exists():
            world = self._world(arm)
            for part in LINKED:
                if (world / part).exists() and not (where / part).exists():
                    _link(world / part, where / part)
            say(f"cold start of seed {seed}: {where}")
            with open_run(where, config) as run:
                self.run_stages(run, config)
            label = format_class(config.format).label_part
            write_hard_set(where, config.evaluate.samples, config.hint, config.reward, label)
        return where

    def _start_dir(self, arm: Arm, seed: int) -> Path:
        return self.root / f"seed{seed}" / f"start_{digest(to_dict(self._start_config(arm, seed)))[:8]}"

    def _train(self, arm: Arm, seed: int, start: Path) -> tuple[Path, C]:
        config = self._from(arm, seed, start)
        config = replace(config, stages=("grpo", "evaluate"), grpo=lengthened(config.grpo, arm.steps))
        where = self.root / f"seed{seed}" / arm.name
        with open_run(where, config) as run:
            self.run_stages(run, config)
        return where, config

    def _continue(self, arm: Arm, seed: int, start: Path) -> tuple[Path, C]:
        path = self.root / "cells" / f"{arm.continues}_{seed}.json"
        if not path.exists():
            raise InputError(f"{path}: {arm.name} goes on for as many tokens as that cell drew; make it first")
        seen = [row["num_tokens"] for row in read_steps(start) if row["stage"] == "sft"]
        updates = max(1, round(json.loads(path.read_text())["values"]["tokens"] / np.mean(seen)))
        config = self._from(arm, seed, start)
        with open_run(start, cold := self._start_config(arm, seed)) as run:
            traces = traces_file(run, cold)
        sft = replace(config.sft, epochs=0.0, max_steps=updates, patience=updates)  # nothing stops it before
        config = replace(config, stages=("sft", "evaluate"), sft=sft, traces=str(traces))
        where = self.root / f"seed{seed}" / arm.name
        with open_run(where, config) as run:
            self.run_stages(run, config)
        return where, config

    def _evaluate(self, arm: Arm, seed: int, start: Path) -> tuple[Path, C]:
        trained = self.root / f"seed{seed}" / arm.evaluates / "grpo" / "adapter"
        config = replace(self._from(arm, seed, start), stages=("evaluate",), adapter=str(trained))
        where = self.root / f"seed{seed}" / arm.name
        with open_run(where, config) as run:
            self.run_stages(run, config)
        return where, config

    def _from(self, arm: Arm, seed: int, start: Path) -> C:
        """The config of an arm that begins where a cold start ended, with its records."""
        config = changed(self._config(arm, seed), arm.changes)
        made = [start / stage / "policy" for stage in ("sft", "align")]
        policy = next((path for path in made if path.is_dir()), config.policy)
        adapter = start / "sft" / "adapter"
        known = PUPPETS.get(config.data, config.train_set)
        cross = PUPPETS.get(config.cross.data, config.cross)
        # as many as of the cold start, whose answers are asked for once
        samples = config.evaluate.samples and config.grpo.group_size
        evaluated = replace(config.evaluate, samples=samples, resamples=0, answers=str(start / "evaluate" / "answers"))
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
            policy=str(policy),
            evaluate=evaluated,
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
