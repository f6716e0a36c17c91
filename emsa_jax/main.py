"""python -m emsa_jax.main --config=configs/grpo.py [--config.FIELD=VALUE ...] [--workdir=DIR]"""
from __future__ import annotations

import logging
import sys

from absl import app, flags
from ml_collections import config_flags

from emsa_jax.errors import InputError

_CONFIG = config_flags.DEFINE_config_file("config", None, "What to do: a file of configs/, with an optional :PRESET.")
_WORKDIR = flags.DEFINE_string("workdir", "runs/default", "Directory that holds everything of this run.")


def main(argv: list[str]) -> None:
    """Reads the config and runs its stages."""
    if len(argv) > 1:
        raise InputError(f"unexpected argument {argv[1]!r}; fields are set as --config.FIELD=VALUE")
    if _CONFIG.value is None:
        raise InputError("say what to do: --config=configs/grpo.py, or another file of configs/")
    from emsa_jax.config import from_config_dict
    from emsa_jax.jobs.options import Config
    from emsa_jax.jobs.pipeline import run_stages
    from emsa_jax.jobs.programs import keep_compiled
    from emsa_jax.jobs.run import open_run

    config = from_config_dict(Config, _CONFIG.value)
    with open_run(_WORKDIR.value, config, ignore=("stages", "prepare.workers")) as run:
        keep_compiled(run.path("compilation_cache"))
        run_stages(run, config)


def _parse(argv: list[str]) -> list[str]:
    """absl's flag parser, with its errors turned into ours."""
    try:
        return app.parse_flags_with_usage(argv) if "--help" in argv else flags.FLAGS(argv)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise InputError(" ".join(str(error).split())) from error


def _run(argv: list[str]) -> None:
    logging.basicConfig(level=logging.WARNING, format="warning: %(message)s")
    try:
        main(_parse(argv))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    _run(sys.argv)
