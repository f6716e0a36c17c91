"""Stages 1 and 2 of XEmoGPT: a cue bridge learns on features of frozen encoders."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from emsa_jax import manifest
from emsa_jax.config.edge import digest, results_digest
from emsa_jax.errors import InputError
from emsa_jax.learning.bridge_update import BridgeBatch, BridgeLoss, bridge_update
from emsa_jax.learning.checkpoints import Checkpoints
from emsa_jax.learning.contrastive import cosines
from emsa_jax.learning.guard import told
from emsa_jax.learning.optimizer import build_optimizer
from emsa_jax.learning.state import create_state
from emsa_jax.parallel import preemption
from emsa_jax.policy.bridges import caption_vectors, clip_vectors, encode_bridge, heads_table
from emsa_jax.policy.parameter_table import bridge_table, get, init_table
from emsa_jax.policy.tensor_files import write_tensors
from emsa_jax.policy.thinker_config import BridgeConfig
from emsa_jax.runtime.console import progress, say
from emsa_jax.runtime.metric_log import MetricLog
from emsa_jax.runtime.resume import resume
from emsa_jax.training.bridge_features import PairFeatures
from emsa_jax.training.bridge_options import BridgesOptions
from emsa_jax.training.stage_guard import IN_A_ROW, SMALLEST

MOST_BAD = 3  # updates in a row that were not taken, after which it ends
CLIPS = 32  # that are run together when retrieval is measured


def train_bridge(
    options: BridgesOptions, config: BridgeConfig, features: PairFeatures, rows: np.ndarray, workdir: Path
) -> dict:
    """The bridge's parameters and its heads' after all updates; goes on from the newest checkpoint in `workdir`.

    Every batch is a function of (seed, step), so a run that was killed gives what one that was not gives. A batch is
    cut over the devices of this process; its loss is the one over all of it.

    Args:
      rows: the pairs of `features` that are trained on.
    """
    size = min(options.batch_size, len(rows)) // options.micro_batches * options.micro_batches
    if size < 2:
        raise InputError(f"micro_batches: {options.micro_batches} parts of {len(rows)} pairs; take fewer")
    total = len(rows) // size * options.epochs
    optimizer = build_optimizer(options.optimizer, total)
    checkpoints = Checkpoints(workdir / "checkpoints")
    identity = {"data": digest([features.digest, rows.tolist()]), "settings": results_digest(options)}
    sharded, whole = _shardings(size // options.micro_batches)
    state = jax.device_put(create_state(fresh_bridge(options, config), optimizer), whole)
    state, _, first = resume(checkpoints, state, identity, {})
    update = jax.jit(
        functools.partial(
            bridge_update,
            config=config,
            loss=BridgeLoss(options.order_weight, options.mask_weight, options.mask_with == "token", options.both_ways),
            optimizer=optimizer,
            micro_batches=options.micro_batches,
        ),
        donate_argnums=0,
        out_shardings=whole,
    )
    log = MetricLog(workdir / "metrics.jsonl", options.kind, workdir / "tensorboard")
    log.truncate_after(first)
    bad = still = 0  # updates in a row that were not taken, and that changed nothing
    with progress(total, options.kind, first) as advance, contextlib.closing(log), preemption.deferred():
        for step in range(first, total):
            batch = jax.device_put(make_batch(options, features, rows, size, step), sharded)
            state, logged = update(state, batch)
            logged = jax.device_get(logged)
            cause, change = int(logged.pop("guard/cause")), float(logged.pop("guard/largest_change"))
            bad, still = bad + 1 if cause else 0, still + 1 if change < SMALLEST else 0
            log.write(step + 1, logged)
            advance(note=f"loss {logged['loss']:.3f}, R@1 {logged['retrieval/at_1']:.2f}")
            _warn(step + 1, cause, still, last=step + 1 == total)
            stopping = preemption.is_agreed(1)
            if stopping or (step + 1) % options.save_every == 0 or step + 1 == total or bad == MOST_BAD:
                checkpoints.save(step + 1, state, identity)
            if bad == MOST_BAD:
                raise InputError(
                    f"optimizer.learning_rate: at update {step + 1}, {told(cause, now=False)}, {bad} updates in "
                    f"a row; the last sound state is kept in {checkpoints.directory / str(step + 1)}. Lower it, and "
                    "take another --workdir"
                )
            if stopping:
                preemption.exit_saved(step + 1, options.kind)
    return state.params


def _warn(update: int, cause: int, still: int, last: bool) -> None:
    """Tells of an update that was not taken, and of updates that change nothing.

    cause: an index of `guard.CAUSES`. still: updates in a row that changed nothing."""
    if cause:
        say(f"warning: update {update} is not taken, since {told(cause)}; the bridge stays as it was")
    elif still == IN_A_ROW or (last and update == still < IN_A_ROW):
        say(
            f"warning: {still} updates in a row changed nothing of the bridge; raise optimizer.learning_rate or "
            "optimizer.clip_norm"
        )


def _shardings(rows: int) -> tuple[NamedSharding, NamedSharding]:
    """(of a batch, of what every device holds): over as many devices of this process as cut `rows`, those of a
    micro-batch, evenly."""
    devices = jax.local_devices()
    count = next(n for n in range(len(devices), 0, -1) if rows % n == 0)
    mesh = Mesh(np.array(devices[:count]), ("batch",))
    return NamedSharding(mesh, PartitionSpec("batch")), NamedSharding(mesh, PartitionSpec())


def make_batch(options: BridgesOptions, features: PairFeatures, rows: np.ndarray, size: int, step: int) -> BridgeBatch:
    """The batch of a step: which of `rows`, how their frames are shuffled, and which are hidden."""
    epoch, place = divmod(step, len(rows) // size)
    drawn = rows[np.random.default_rng([options.seed, 0, epoch]).permutation(len(rows))]
    chosen = features.take(drawn[place * size : (place + 1) * size])
    rng = np.random.default_rng([options.seed, 1, step])
    order = np.tile(np.arange(chosen.valid.shape[1], dtype=np.int32), (size, 1))
    for row, count in enumerate(chosen.valid.sum(1)):
        order[row, :count] = rng.permutation(count)
    masked = (rng.random(chosen.valid.shape) < options.mask_rate) & chosen.valid
    return BridgeBatch(chosen.states, chosen.valid, chosen.captions, order, masked)


def retrieval_of(params: dict, config: BridgeConfig, features: PairFeatures, rows: np.ndarray) -> dict[str, float]:
    """{"at_1", "at_5"}: share of clips whose own caption is among the nearest of those of `rows`; equal captions count
    as one."""
    vectors, captions = [], np.asarray(features.captions[rows])
    for first in range(0, len(rows), CLIPS):
        some = np.resize(rows[first : first + CLIPS], CLIPS)  # one shape, so that one program is compiled
        part = features.take(some)
        found = _clip_vectors(params, config, part.states, part.valid)
        vectors.append(np.asarray(found)[: len(rows) - first])
    kinds, kind = np.unique(captions, axis=0, return_inverse=True)
    scores = np.asarray(cosines(np.concatenate(vectors), caption_vectors(params["heads"], kinds)))
    rank = (scores >= scores[np.arange(len(rows)), kind.ravel()][:, None]).sum(1) - 1
    return {f"at_{k}": float((rank < k).mean()) for k in (1, 5)}


@functools.partial(jax.jit, static_argnums=1)
def _clip_vectors(params: dict, config: BridgeConfig, states: jax.Array, valid: jax.Array) -> jax.Array:
    return clip_vectors(params["heads"], config, encode_bridge(params["bridge"], config, states, valid), valid)


def save_bridge(directory: Path, config: BridgeConfig, params: dict, facts: Mapping) -> None:
    """Writes a bridge under the names of the published code, with what it was made of."""
    tensors = dict(_tensors(config, params))
    with manifest.staged(directory) as part:
        write_tensors(tensors, part / "model.safetensors")
        content = {"model_type": "emsa_bridge"} | asdict(config) | dict(facts)
        (part / "config.json").write_text(json.dumps(content, indent=2) + "\n")


def _tensors(config: BridgeConfig, params: dict) -> Iterator[tuple[str, np.ndarray]]:
    for spec in (*bridge_table(config), *heads_table(config)):
        stack = np.asarray(get(params, spec.path), np.float32)
        for n in range(max(spec.layers, 1)):
            yield spec.disk.format(n=n), np.asarray(stack[n] if spec.layers else stack, order="C")


def fresh_bridge(options: BridgesOptions, config: BridgeConfig) -> dict:
    """The parameters before the first update."""
    params = init_table([*bridge_table(config), *heads_table(config)], jax.random.key(options.seed))
    params["heads"]["temperature"] = jnp.float32(options.temperature)
    return params
