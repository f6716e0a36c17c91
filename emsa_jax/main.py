"""python -m emsa_jax.main --config=configs/grpo.py [--config.FIELD=VALUE ...] [--workdir=DIR]

  --config=FILE[:PRESET]    what to do: a file of configs/
  --config.FIELD=VALUE      changes one of its fields, such as --config.grpo.max_steps=10; the fields and what they
                            mean are in emsa_jax/jobs/options.py
  --workdir=DIR             directory that holds everything of this run (runs/default); the same command again goes on
                            where it stopped
"""
from __future__ import annotations

import logging
import sys
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from emsa_jax.errors import InputError

# unknown fields are let in here and named by from_config_dict, which knows the nearest
_CONFIG = config_flags.DEFINE_config_file("config", None, "What to do: a file of configs/, with an optional :PRESET.",
                                          lock_config=False, accept_new_attributes=True)
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
    from emsa_jax.config import from_config_dict

    if _CONFIG.value.get("job") == "inspect":  # which looks at records, and needs no run
        from emsa_jax.jobs.inspect import InspectOptions, inspect

        return inspect(from_config_dict(InspectOptions, _CONFIG.value))
    if _CONFIG.value.get("job") == "annotate":  # votes alone
        from emsa_jax.jobs.annotate import AnnotateOptions, annotate

        return annotate(from_config_dict(AnnotateOptions, _CONFIG.value))
    if _CONFIG.value.get("job") == "benchmark":  # predictions alone
        from emsa_jax.jobs.benchmark import BenchmarkOptions, benchmark

        return benchmark(from_config_dict(BenchmarkOptions, _CONFIG.value))
    if _CONFIG.value.get("job") == "compare":
        from emsa_jax.jobs.compare import CompareOptions, compare

        return compare(from_config_dict(CompareOptions, _CONFIG.value))
    if _CONFIG.value.get("job") == "ablation":
        from emsa_jax.jobs.ablation import AblationOptions, ablation

        return ablation(from_config_dict(AblationOptions, _CONFIG.value), Path(_WORKDIR.value).expanduser().absolute())
    from emsa_jax.jobs.options import Config
    from emsa_jax.jobs.pipeline import check_inputs, run_stages
    from emsa_jax.jobs.prepare import prepare_records
    from emsa_jax.jobs.programs import keep_compiled
    from emsa_jax.jobs.run import open_run

    config = from_config_dict(Config, _CONFIG.value)
    if config.predictions:  # of someone else: there is no policy to ask
        from emsa_jax.jobs.score import score_predictions

        return score_predictions(config, Path(_WORKDIR.value).expanduser().absolute())
    if config.out:  # records alone, which many runs may share
        return prepare_records(config)
    check_inputs(config)
    with open_run(_WORKDIR.value, config, ignore=("stages", "prepare.workers", "profile", "attention")) as run:
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
    from emsa_jax.jobs.console import printable

    logging.basicConfig(level=logging.WARNING, format="warning: %(message)s")
    if {"--help", "-h"} & set(argv):
        print(__doc__, end="")
        return
    try:
        main(_parse(argv))
    except InputError as error:
        print(f"error: {printable(' '.join(str(error).splitlines()))}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    _run(sys.argv)
