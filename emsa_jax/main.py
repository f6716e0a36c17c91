"""python -m emsa_jax.main --config=configs/grpo.py [--config.FIELD=VALUE ...] [--workdir=DIR]

--config=FILE[:PRESET]    what to do: a file of configs/
--config.FIELD=VALUE      changes one of its fields, such as --config.grpo.max_steps=10; the fields and what they
                          mean are in emsa_jax/settings/config.py
--workdir=DIR             directory that holds everything of this run (runs/default); the same command again goes on
                          where it stopped
"""

from __future__ import annotations

import importlib
import logging
import sys
import traceback
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from emsa_jax.errors import InputError

# jobs that need no run: emsa_jax/jobs/NAME.py has the function NAME and NameOptions
ALONE = ("ablation", "annotate", "benchmark", "compare", "distill", "inspect", "plan", "review")

# unknown fields are let in here and named by from_config_dict, which knows the nearest
_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "What to do: a file of configs/, with an optional :PRESET.",
    lock_config=False,
    accept_new_attributes=True,
)
_WORKDIR = flags.DEFINE_string("workdir", "runs/default", "Directory that holds everything of this run.")


def main(argv: list[str]) -> None:
    """Reads the config and runs its stages."""
    if len(argv) > 1:
        raise InputError(f"unexpected argument {argv[1]!r}; fields are set as --config.FIELD=VALUE")
    if _CONFIG.value is None:
        raise InputError("say what to do: --config=configs/grpo.py, or another file of configs/")
    if not isinstance(_CONFIG.value, ConfigDict):
        name = config_flags.get_config_filename(flags.FLAGS["config"])
        raise InputError(f"--config={name} cannot be read; give a file of configs/, such as configs/grpo.py")
    from emsa_jax.config.edge import from_config_dict

    workdir = Path(_WORKDIR.value).expanduser().absolute()
    if job := _CONFIG.value.get("job"):
        if job not in ALONE:
            raise InputError(f"config.job: {job!r} is none of {', '.join(ALONE)}")
        if job == "plan":  # which compiles for devices that are not here: to be said before JAX looks for any
            from emsa_jax.planning.topologies import compile_without_devices

            compile_without_devices()
        module = importlib.import_module(f"emsa_jax.jobs.{job}")
        options = from_config_dict(getattr(module, f"{job.capitalize()}Options"), _CONFIG.value)
        places = (workdir,) if job == "ablation" else ()  # which keeps many runs
        return getattr(module, job)(options, *places)
    from emsa_jax.jobs.prepare import prepare_records
    from emsa_jax.jobs.stages import check_inputs, run_stages
    from emsa_jax.parallel import processes
    from emsa_jax.runtime.programs import keep_compiled
    from emsa_jax.runtime.run import open_run
    from emsa_jax.runtime.startup import join
    from emsa_jax.settings.config import Config

    config = from_config_dict(Config, _CONFIG.value)
    if config.predictions:  # of someone else: there is no policy to ask
        from emsa_jax.jobs.score import score_predictions

        return score_predictions(config, workdir)
    if config.out:  # records alone, which many runs may share
        return prepare_records(config)
    join(config)
    processes.broadcast(lambda: check_inputs(config), "inputs")
    with open_run(workdir, config, ignore=("stages", "prepare.workers", "profile", "attention", "mesh")) as run:
        keep_compiled(run.path("compilation_cache"))
        run_stages(run, config)


def _parse(argv: list[str]) -> list[str]:
    """absl's flag parser, with its errors turned into ours."""
    try:
        return flags.FLAGS(argv)
    except Exception as error:  # a config file is a program: it may fail in any way
        raise InputError(_reason(error)) from error


def _reason(error: BaseException | None) -> str:
    """One line: what our own code objected to, if it did, else what the parser did."""
    found, link = error, error
    while link := link.__context__:
        found = link if isinstance(link, InputError) else found
    text = f"config has no field {found.args[0]}" if isinstance(found, KeyError) else str(found)
    return " ".join(text.split())


def _run(argv: list[str]) -> None:
    from emsa_jax.runtime.console import printable

    logging.basicConfig(level=logging.WARNING, format="warning: %(message)s")
    if {"--help", "-h"} & set(argv):
        print(__doc__, end="")
        return
    try:
        main(_parse(argv))
    except InputError as error:
        print(f"error: {printable(' '.join(str(error).splitlines()))}", file=sys.stderr)
        _end(2, str(error))
    except Exception as error:
        _end(1, f"{type(error).__name__}: {error}", error)


def _end(code: int, reason: str, error: Exception | None = None) -> None:
    """Ends the process for a reason that the others of the run hear of, instead of waiting for this one."""
    from emsa_jax.parallel import processes

    if isinstance(error, processes.ProcessError):
        print(f"error: another process failed: {error}", file=sys.stderr)
        code = error.code  # if it is 42, a launcher starts all of them again
    elif error is not None and processes.process_count() == 1:
        raise error
    elif error is not None:
        traceback.print_exception(error)
    if processes.process_count() > 1:
        processes.fail(reason, code)
        sys.stderr.flush()
        processes.leave(code)
    sys.exit(code)


if __name__ == "__main__":
    _run(sys.argv)
