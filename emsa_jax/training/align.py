"""Alignment: projectors learn to speak the text model's words, in closed form or by gradient; all else stays."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from emsa_jax.parallel import processes
from emsa_jax.policy import hf
from emsa_jax.policy.checkpoint import load_weights
from emsa_jax.runtime.console import say
from emsa_jax.runtime.run import Run
from emsa_jax.training.align_closed import fit_projectors
from emsa_jax.training.align_gradient import train_projectors
from emsa_jax.training.align_setup import open_setup
from emsa_jax.training.stage_settings import AlignSettings


def align(run: Run, settings: AlignSettings, refresh_page: Callable[[], None] = lambda: None) -> None:
    """Aligns the projectors of `align.towers` and writes align/policy: the policy with them, all else as it was.

    refresh_page: called after each update. Raises InputError for what cannot work, as far as possible before weights
    are loaded."""
    setup = open_setup(run, settings)
    checkpoint = load_weights(setup.checkpoint, settings.dtype, setup.placement.update)
    setup.train.load_towers(checkpoint.params)
    if settings.align.method == "gradient":
        params = train_projectors(run, setup, checkpoint, refresh_page)
    else:
        params, values = fit_projectors(setup, checkpoint.params)
        log = run.metrics("align")
        log.truncate_after(0)
        log.write(1, values)
    if line := setup.train.encoding_summary():
        say(line)
    if processes.is_main():
        shutil.rmtree(run.path("align", "policy"), ignore_errors=True)
    hf.save(run.path("align", "policy"), checkpoint.config, params, checkpoint.directory, {"stage": "align"})
