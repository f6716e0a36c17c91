"""Runs over several seeds, out of a program: `emsa_jax.run`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emsa_jax.config.edge import from_config_dict, pick, to_dict
from emsa_jax.errors import InputError
from emsa_jax.jobs.stages import check_inputs, run_stages
from emsa_jax.report.result_table import POLICIES, measured
from emsa_jax.report.run_files import ReportSettings, data_name, results_of, statuses
from emsa_jax.report.seed_results import SeedResults, SeedRun, seed_results
from emsa_jax.runtime.console import say
from emsa_jax.runtime.programs import keep_compiled
from emsa_jax.runtime.run import open_run
from emsa_jax.settings.config import Config
from emsa_jax.settings.old_fields import check_old_fields, upgrade_for
from emsa_jax.settings.policy_defaults import with_defaults
from emsa_jax.settings.presets import preset_of

TRAINING = ("align", "sft", "grpo")


def run_seeds(
    policy: str | os.PathLike,
    data: str | os.PathLike,
    *,
    seeds: Sequence[int] = (0,),
    workdir: str | os.PathLike = "runs/seeds",
    preset: str = "",
    fields: Mapping[str, Any],
) -> SeedResults:
    """See `emsa_jax.run`."""
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"seeds: name at least one, and none twice, not {list(seeds)}")
    given = {"policy": os.fspath(policy), "data": os.fspath(data), **_dotted(fields)}
    if "seed" in given:
        raise InputError("seed: name it in seeds, such as seeds=[0, 1, 2]")
    check_old_fields(list(given))
    config = _changed(preset_of(preset, "emsa_jax.run"), given)
    root = Path(workdir).expanduser().absolute()
    check_inputs(config)
    keep_compiled(root / "compilation_cache")
    runs = []
    for number, seed in enumerate(seeds, 1):
        say(f"seed {seed}, {number} of {len(seeds)}: {root / str(seed)}")
        runs.append(_run(_changed(config, {"seed": seed}), root / str(seed), seed, given))
    numbers = [{name: measured(result) for name, result in run.results.items()} for run in runs]
    return seed_results(runs, numbers)


def _run(config: Config, workdir: Path, seed: int, given: Mapping[str, Any]) -> SeedRun:
    """The run of a seed, which goes on where it was stopped; what is done is kept."""
    config, lines = with_defaults(config, given, workdir)
    for line in lines:
        say(line)
    with open_run(workdir, config, upgrade_for(bool(set(TRAINING) & set(config.stages)))) as opened:
        run_stages(opened, config)
    settings = pick(ReportSettings, config)
    found = [(name, role, result) for name, role, result in results_of(workdir) if name in POLICIES]
    last = found and max((name for name, _, _ in found), key=list(POLICIES).index) or ""
    return SeedRun(
        seed=seed,
        workdir=workdir,
        policy=last,
        status=statuses(workdir).get(last, ""),
        results={data_name(settings, role): result for name, role, result in found if name == last},
    )


def _dotted(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"grpo": {"max_steps": 4}, "hint.mode": "off"} -> dotted fields. A field that is a mapping itself, such as
    reward.weights, is set key by key."""
    found: dict[str, Any] = {}
    for name, value in fields.items():
        found |= _dotted(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found


def _changed(config: Config, fields: Mapping[str, Any]) -> Config:
    """The config with dotted fields set. Raises InputError naming a field that it does not have, with the nearest."""
    values = to_dict(config)
    for path, value in fields.items():
        *groups, last = path.split(".")
        group = values
        for name in groups:
            if not isinstance(group.setdefault(name, {}), dict):
                raise InputError(f"config.{path}: {name} is no group of fields")
            group = group[name]
        group[last] = value
    return from_config_dict(Config, values)
