"""Export: what other tools load. A merged Hugging Face directory, and the base with a PEFT adapter beside it."""

from __future__ import annotations

import shutil

from emsa_jax.parallel import processes
from emsa_jax.policy import hf, peft
from emsa_jax.policy.checkpoint import open_checkpoint
from emsa_jax.policy.hf import read_checked_config
from emsa_jax.policy.layout import place
from emsa_jax.policy.lora import merge
from emsa_jax.runtime.console import say
from emsa_jax.runtime.placement import Placement
from emsa_jax.runtime.run import Run
from emsa_jax.settings.config import Config
from emsa_jax.training.artifacts import policies, weights_fingerprint


def export(run: Run, config: Config) -> None:
    """export/merged and export/{base, adapter} of the last policy of the run."""
    name, (directory, adapter_dir) = list(policies(run, config).items())[-1]
    policy = read_checked_config(directory)
    placement = Placement.of(policy, mesh=config.mesh, dtype=config.dtype, trained=None)
    checkpoint = open_checkpoint(directory, layout=placement.update)
    adapter = peft.load_adapter(adapter_dir, checkpoint.config) if adapter_dir else None
    adapter = adapter and place(adapter, placement.update.adapter(adapter))
    if processes.is_main():
        for part in ("merged", "base", "adapter"):  # what a killed export left
            shutil.rmtree(run.path("export", part), ignore_errors=True)
    origin = {"stage": name, "base": processes.broadcast(lambda: weights_fingerprint(directory), "hashes of the base")}
    save = {"source": directory}
    if "merged" in config.export or adapter is None:
        merged = checkpoint.params if adapter is None else merge(checkpoint.params, adapter)
        hf.save(run.path("export", "merged"), checkpoint.config, merged, extra=origin, **save)
    if "adapter" in config.export and adapter is not None:
        hf.save(run.path("export", "base"), checkpoint.config, checkpoint.params, extra=origin, **save)
        base = {
            "base": processes.broadcast(lambda: weights_fingerprint(run.path("export", "base")), "hashes of the export")
        }
        peft.save_adapter(run.path("export", "adapter"), adapter, "../base", origin | base)
    say(f"exported {name} to {run.path('export')}")
