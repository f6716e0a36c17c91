"""One process of a run, as `main` is one, for several work directories in turn.

python worker.py jobs.json     a list of {"workdir": ..., "fields": {dotted field of the config: value}}
"""

import json
import sys
from pathlib import Path

from emsa_jax import main
from emsa_jax.config.edge import from_config_dict, to_config_dict
from emsa_jax.jobs.stages import check_inputs, run_stages
from emsa_jax.learning import optimizer
from emsa_jax.parallel import processes
from emsa_jax.runtime.programs import keep_compiled
from emsa_jax.runtime.run import open_run
from emsa_jax.runtime.startup import join, listen
from emsa_jax.settings.config import Config
from emsa_jax.settings.presets import embedded


def config_of(fields: dict) -> Config:
    config = to_config_dict(embedded())
    for name, value in fields.items():
        *groups, last = name.split(".")
        group = config
        for part in groups:
            group = group[part]
        with group.ignore_type():
            group[last] = tuple(value) if isinstance(value, list) else value
    return from_config_dict(Config, config)


def work(jobs: list[dict]) -> None:
    for i, job in enumerate(jobs):
        config = config_of(job["fields"])
        if i == 0:
            listen()
            join(config)
            keep_compiled(Path(job["cache"]))
        processes.broadcast(lambda config=config: check_inputs(config), "inputs")
        with open_run(job["workdir"], config) as run:
            run_stages(run, config)


optimizer.EPS = 1e-3  # or a rounding of a gradient near zero would be a whole step


if __name__ == "__main__":
    try:
        with open(sys.argv[1], encoding="utf-8") as file:
            work(json.load(file))
    except Exception as error:
        main._end(error, None)
