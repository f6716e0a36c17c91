"""Trains a network for several seeds at once, and can be stopped at any moment: the same call goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from emsa_jax.errors import InputError
from emsa_jax.features.epochs import SeedState, batch_order, new_state, programs
from emsa_jax.features.networks import Batch, Network, Tree
from emsa_jax.features.protocol import Protocol, warmup_cosine
from emsa_jax.learning.checkpoints import Checkpoints
from emsa_jax.parallel import preemption

SECONDS_BETWEEN_SAVES = 20.0


@dataclass(frozen=True)
class Trained:
    """What a seed comes to.

    Attributes:
      params: of the epoch with the best validation loss.
      predictions: split -> float32 [N], by these.
      log: one {"epoch", "train_loss", "valid_loss", "rate"} for each epoch.
      best_epoch: from 1.
      refused: updates that were not taken, since numbers were not finite.
    """

    params: Tree
    predictions: Mapping[str, np.ndarray]
    log: tuple[Mapping[str, float], ...]
    best_epoch: int
    refused: int


@dataclass(frozen=True)
class Place:
    """Where a training keeps its state. fingerprint: of all that its numbers depend on."""

    directory: Path
    fingerprint: str


def train(
    network: Network,
    protocol: Protocol,
    batches: Mapping[str, Batch],
    seeds: Sequence[int],
    bert: Tree | None = None,
    place: Place | None = None,
    tell: Callable[[int, str], None] = lambda *_: None,
) -> dict[int, Trained]:
    """Trains all seeds in one program until each has stopped.

    Args:
      batches: of `FeatureSet`, the splits train, valid and test.
      bert: BERT's parameters, from which every seed begins.
      place: None: nothing is kept before the end.
      tell: called after each epoch with its number and a note of the losses.

    Raises: InputError where `place` holds the state of another training, or where a seed's losses are not finite.
    """
    _check_batches(len(batches["train"].labels), protocol)
    data = {split: jax.tree.map(jnp.asarray, batch) for split, batch in batches.items()}
    trees = [network.init(jax.random.key(seed), data["train"]) | (bert or {}) for seed in seeds]
    unravel, decays = ravel_pytree(trees[0])[1], _decays(trees[0], protocol)
    vectors = [ravel_pytree(tree)[0] for tree in trees]
    states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(new_state(vector, protocol) for vector in vectors))
    del trees, vectors
    keep = Checkpoints(place.directory, keep=2) if place else None
    log: list[dict[str, list[float]]] = []
    if keep:
        states, log = _restored(keep, place.fingerprint, states)
    run = programs(network, protocol, unravel, decays)
    count, saved, begun = len(data["train"].labels), len(log), time.monotonic()
    while not (done := np.asarray(states.done)).all():
        if keep and len(log) > saved and _is_due(begun):
            _save(keep, place.fingerprint, states, log)
            saved, begun = len(log), time.monotonic()
            if preemption.is_agreed(1):
                preemption.exit_saved(len(log), "training on features")
        epoch = len(log) + 1
        orders, weights = zip(*(batch_order(s, epoch, count, protocol.batch_size) for s in seeds), strict=True)
        rates = np.full(len(seeds), _rate(protocol, epoch), np.float32)
        keys = jnp.stack([jax.random.fold_in(jax.random.key(seed), epoch) for seed in seeds])
        states, losses = run.epoch(states, data["train"], data["valid"], np.stack(orders), weights[0], rates, keys)
        record = {name: np.asarray(value).tolist() for name, value in losses.items()}
        log.append(record | {"rate": np.asarray(states.learner.rate).tolist(), "active": (~done).tolist()})
        _check(log[-1], seeds, epoch)
        tell(epoch, _note(log[-1], int((~done).sum())))
    if keep and len(log) > saved:
        _save(keep, place.fingerprint, states, log)
    predictions = {split: np.asarray(run.predict(states.best, data[split])) for split in ("valid", "test")}
    return {seed: _trained(i, states, unravel, predictions, log) for i, seed in enumerate(seeds)}


def _check_batches(count: int, protocol: Protocol) -> None:
    batches = -(-count // protocol.batch_size)
    if batches < protocol.accumulate and protocol.leftover == "lose":
        raise InputError(
            f"an update needs {protocol.accumulate} batches and an epoch has {batches}: nothing would be learned; set "
            f"--config.change=\"('accumulate={batches}',)\" or config.preset=sound"
        )


def _is_due(begun: float) -> bool:
    return preemption.is_agreed(1) or time.monotonic() - begun > SECONDS_BETWEEN_SAVES


def _rate(protocol: Protocol, epoch: int) -> float:
    """NaN: as the state has it."""
    if protocol.schedule != "warmup_cosine":
        return float("nan")
    return protocol.learning_rate * warmup_cosine(epoch, protocol.max_epochs)


def _decays(tree: Tree, protocol: Protocol) -> np.ndarray:
    """[P], 1 for what decays."""
    ones = jax.tree.map(lambda leaf: np.full(leaf.size, protocol.decay == "all" or leaf.ndim > 1, np.float32), tree)
    return np.concatenate(jax.tree.leaves(ones))


def _restored(keep: Checkpoints, fingerprint: str, states: SeedState) -> tuple[SeedState, list]:
    found = keep.restore_newest(states)
    if found is None:
        return states, []
    restored, meta, _ = found
    if meta.get("fingerprint") != fingerprint:
        raise InputError(
            f"{keep.directory} holds a training with other options, data or seeds; choose another --workdir, or "
            "remove it to start afresh"
        )
    return restored, list(meta["log"])


def _save(keep: Checkpoints, fingerprint: str, states: SeedState, log: list) -> None:
    keep.save(len(log), states, {"fingerprint": fingerprint, "log": log})


def _check(record: Mapping[str, list], seeds: Sequence[int], epoch: int) -> None:
    """A loss that is not finite stays so: the parameters that it comes from are finite, and are not moved by it."""
    for seed, active, train, valid in zip(
        seeds, record["active"], record["train_loss"], record["valid_loss"], strict=True
    ):
        if active and not (np.isfinite(train) and np.isfinite(valid)):
            raise InputError(
                f"seed {seed}, epoch {epoch}: the loss is not finite ({train:g} in training, {valid:g} in validation); "
                "look for huge numbers in the feature file, or lower the rate, such as "
                "--config.change=\"('learning_rate=1e-4',)\""
            )


def _note(record: Mapping[str, list], active: int) -> str:
    train, valid = (
        np.mean([v for v, a in zip(record[name], record["active"], strict=True) if a])
        for name in ("train_loss", "valid_loss")
    )
    return f"loss {train:.4f}, validation {valid:.4f}, seeds at work {active}"


def _trained(i: int, states: SeedState, unravel: Callable, predictions: Mapping[str, np.ndarray], log: list) -> Trained:
    epochs = int(states.epoch[i])
    lines = tuple(
        {"epoch": n, **{name: record[name][i] for name in ("train_loss", "valid_loss", "rate")}}
        for n, record in enumerate(log[:epochs], 1)
    )
    return Trained(
        params=unravel(states.best[i]),
        predictions={split: values[i] for split, values in predictions.items()},
        log=lines,
        best_epoch=int(states.best_epoch[i]),
        refused=int(states.learner.refused[i]),
    )
