"""Export for other tools: a merged Hugging Face directory, and the base with a PEFT adapter beside it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from emsa_jax.data.datasets import DataSettings
from emsa_jax.parallel import processes
from emsa_jax.parallel.parallel_options import MeshOptions
from emsa_jax.policy import hf, peft
from emsa_jax.policy.bridge_files import write_published
from emsa_jax.policy.checkpoint import open_checkpoint
from emsa_jax.policy.hf import read_checked_config
from emsa_jax.policy.layout import place
from emsa_jax.policy.lora import changes, merge
from emsa_jax.policy.trained_for import read_trained_for
from emsa_jax.report.card_facts import card_facts, measured_digest
from emsa_jax.report.model_card import model_card
from emsa_jax.runtime.console import say
from emsa_jax.runtime.placement import Placement
from emsa_jax.runtime.run import Run
from emsa_jax.training.artifacts import (
    PolicySettings,
    last_policy,
    policy_fingerprint,
    stage_summary,
    weights_fingerprint,
)
from emsa_jax.training.stage_guard import LEARNED


@dataclass(frozen=True, kw_only=True)
class ExportSettings(DataSettings, PolicySettings):
    """What the stage reads of a run's options."""

    dtype: str
    mesh: MeshOptions
    export: tuple[str, ...]

    def content(self, run: Run) -> list:
        """Hashes of the files that the stage reads."""
        return [policy_fingerprint(*last_policy(run, self)[1:]), measured_digest(run.workdir)]


def export(run: Run, settings: ExportSettings) -> None:
    """Writes the last policy of the run, each part with its model card: export/merged, and export/base with
    export/adapter beside it."""
    name, directory, adapter_dir = last_policy(run, settings)
    policy = read_checked_config(directory)
    placement = Placement.of(policy, mesh=settings.mesh, dtype=settings.dtype, trained=None)
    checkpoint = open_checkpoint(directory, layout=placement.update)
    adapter = peft.load_adapter(adapter_dir, checkpoint.config) if adapter_dir else None
    adapter = adapter and place(adapter, placement.update.adapter(adapter))
    if processes.is_main():
        for part in ("merged", "base", "adapter", "bridges"):  # an export that was killed may have left some
            shutil.rmtree(run.path("export", part), ignore_errors=True)
    origin = {"stage": name, "base": _hash_weights(directory, "hashes of the base")}
    if (status := stage_summary(run.workdir, name).get("status", LEARNED)) != LEARNED:
        origin |= {"status": status}
    trained_for = read_trained_for(adapter_dir, directory)
    if adapter is not None and not changes(checkpoint.params, adapter):
        origin |= {"equals_base": True}
        say(
            f"warning: the adapter of {name} changes no weight of {directory}: what is exported is that policy as it "
            "was"
        )
    facts = card_facts(run, settings, name, directory, adapter_dir)
    if {"merged", "bridges"} & set(settings.export) or adapter is None:
        merged = checkpoint.params if adapter is None else merge(checkpoint.params, adapter)
    if "bridges" in settings.export:
        write_published(run.path("export", "bridges"), checkpoint.config, merged)
    if "merged" in settings.export or adapter is None:
        target = run.path("export", "merged")
        saved = {"source": directory, "extra": origin, "card": model_card(facts, "merged")}
        hf.save(target, checkpoint.config, merged, trained_for=trained_for, **saved)
    if "adapter" in settings.export and adapter is not None:
        base = run.path("export", "base")
        saved = {"source": directory, "extra": origin, "card": model_card(facts, "base")}
        hf.save(base, checkpoint.config, checkpoint.params, **saved)
        origin |= {"base": _hash_weights(base, "hashes of the export")}
        saved = {"base": "../base", "extra": origin, "trained_for": trained_for, "card": model_card(facts, "adapter")}
        peft.save_adapter(run.path("export", "adapter"), checkpoint.config, adapter, **saved)
    say(f"exported {name} to {run.path('export')}")


def _hash_weights(directory: Path, what: str) -> str:
    """The fingerprint of a policy's weights, read by process 0 for all. what: the name of the exchange, for errors."""
    return processes.broadcast(lambda: weights_fingerprint(directory), what)
