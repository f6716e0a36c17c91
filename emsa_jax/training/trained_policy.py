"""What a stage trains: a policy as a whole, or an adapter over it. Where it begins, and what it writes in the end."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import jax

from emsa_jax.errors import InputError
from emsa_jax.learning.sft_update import split_trained
from emsa_jax.parallel import processes
from emsa_jax.policy import hf, peft
from emsa_jax.policy.checkpoint import Checkpoint
from emsa_jax.policy.lora import Adapter, abstract_adapter, init_adapter
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.training.artifacts import weights_fingerprint


def trained_and_frozen(
    checkpoint: Checkpoint, trainable: str, lora: LoraOptions, seed: int, adapter: str
) -> tuple[Any, dict]:
    """(trained part, frozen part) of a policy before the first update.

    trainable: "all" or "lora". adapter: directory of one to start from, "" for a new one. Raises InputError for an
    adapter of a policy that is trained as a whole."""
    if trainable == "all":
        if adapter:
            raise InputError("sft.trainable=all trains the whole policy: it cannot start from config.adapter")
        return checkpoint.params, {}
    if adapter:
        return peft.load_adapter(adapter, checkpoint.config), checkpoint.params
    return init_adapter(checkpoint.config, lora, jax.random.key(seed), checkpoint.params), checkpoint.params


def trained_adapter(checkpoint: Checkpoint, lora: LoraOptions, directory: Path | None) -> Adapter:
    """What is trained beside a frozen base, as far as its names go: of a directory, or else as the options say."""
    return peft.load_adapter(directory, checkpoint.config) if directory else abstract_adapter(checkpoint.config, lora)


def write_trained(directory: Path, checkpoint: Checkpoint, trained: Any, extra: dict) -> None:
    """Writes directory/policy or directory/adapter: whichever was trained.

    What a killed run left there is replaced: the outputs of a stage that is not marked as done are its own."""
    params, adapter = split_trained(trained, checkpoint.params)
    if processes.is_main():
        shutil.rmtree(directory / ("policy" if adapter is None else "adapter"), ignore_errors=True)
    if adapter is None:
        hf.save(directory / "policy", checkpoint.config, params, checkpoint.directory, extra)
        return
    base_hash = processes.broadcast(lambda: weights_fingerprint(checkpoint.directory), "hashes of the base")
    base = checkpoint.directory.absolute()
    if base.is_relative_to(directory.parent):  # of this run: its files do not depend on where it lies
        base = os.path.relpath(base, directory / "adapter")
    peft.save_adapter(directory / "adapter", checkpoint.config, adapter, str(base), extra | {"base": base_hash})
