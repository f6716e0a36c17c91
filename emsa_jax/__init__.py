"""emsa_jax: explainable multimodal sentiment analysis, trained in JAX."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emsa_jax.report.seed_results import SeedResults


def run(
    policy: str | os.PathLike,
    data: str | os.PathLike,
    seeds: Sequence[int] = (0,),
    *,
    workdir: str | os.PathLike = "runs/seeds",
    preset: str = "",
    **fields: Any,
) -> SeedResults:
    """Trains and evaluates a run for each seed, or evaluates alone, and returns what they came to.

        found = emsa_jax.run("tiny", "puppets:en", seeds=[0, 1, 2], grpo={"max_steps": 20})
        print(found.to_markdown())
        found.metrics["puppets:en (in domain)"]["MAE"].mean

    What is finished is kept: the same call goes on where it was stopped, and another seed adds a run.

    Args:
      policy: "tiny", or a policy directory.
      data: "puppets:en", a directory, or a table of clips.
      seeds: of the runs, each different.
      workdir: holds a work directory for each seed, named by it.
      preset: of configs/grpo.py, such as "msa_thinker"; "" for the embedded world.
      fields: of a run's config, in groups, as grpo={"max_steps": 20}, or by their dotted names, as
        **{"grpo.max_steps": 20}. stages=("prepare", "evaluate") trains nothing.

    Raises:
      errors.InputError: naming the field, file or sample that is wrong.
    """
    from emsa_jax.jobs.seeds import run_seeds  # which loads JAX

    return run_seeds(policy, data, seeds=seeds, workdir=workdir, preset=preset, fields=fields)
