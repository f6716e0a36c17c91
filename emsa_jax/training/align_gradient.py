"""Projectors by gradient: next-token loss on what describes a clip, through the frozen text model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optax

from emsa_jax.config.edge import digest
from emsa_jax.data.batch_order import boundary_at
from emsa_jax.data.pipeline import batches
from emsa_jax.learning.learning_options import OptimizerOptions
from emsa_jax.learning.optimizer import build_optimizer
from emsa_jax.learning.ridge import RidgeSums
from emsa_jax.learning.sft_update import SftBatch, sft_update
from emsa_jax.learning.state import create_state
from emsa_jax.parallel import processes
from emsa_jax.policy.checkpoint import Checkpoint, fingerprint
from emsa_jax.policy.inputs import InputShape
from emsa_jax.policy.layout import on_host, place
from emsa_jax.policy.lora import Adapter, merge
from emsa_jax.policy.parameter_table import get
from emsa_jax.policy.thinker import projector
from emsa_jax.rollout.prompts import answer_ids
from emsa_jax.runtime.console import say
from emsa_jax.runtime.programs import Program, Programs
from emsa_jax.runtime.run import Run
from emsa_jax.training.align_closed import FAR_OFF, features, tell, word_norm
from emsa_jax.training.align_setup import AlignSetup
from emsa_jax.training.loop import StageLoop
from emsa_jax.training.sft_data import make_batch, padded

SAVE_EVERY = 5  # updates between checkpoints, which are small
MEASURED = 64  # clips whose tokens' length is told


def train_projectors(run: Run, setup: AlignSetup, checkpoint: Checkpoint, refresh_page: Callable[[], None]) -> dict:
    """The policy's parameters after `align.max_steps` updates of the projectors alone."""
    options, placement = setup.settings.align, setup.placement
    ids = [answer_ids(checkpoint, text) for text in setup.texts]
    answers = padded(ids)
    plan = setup.train.plan(options.batch_size, setup.settings.seed, drop_remainder=True)
    rate = OptimizerOptions(options.learning_rate, warmup=0.03)
    optimizer = build_optimizer(rate, options.max_steps)
    before, words = media_norms(setup, checkpoint.params), word_norm(checkpoint.params)
    trained = projectors(setup, checkpoint.params, {tower: words / norm for tower, norm in before.items()})
    state = placement.state(create_state(place(trained, placement.update.trained(trained)), optimizer))
    shapes = setup.train.input_shapes(options.batch_size // placement.sharding.num_shards, options.batch_size)
    updates = compile_updates(setup, checkpoint, state, optimizer, shapes, answers.shape[1])
    loop = StageLoop(
        run=run,
        stage="align",
        title="alignment",
        plan=plan,
        total=options.max_steps,
        optimizer=rate,
        save_every=SAVE_EVERY,
        identity=identity(setup, plan.hash, answers),
        refresh_page=refresh_page,
        guard=setup.settings.guard,
        strict=setup.settings.strict,
    )
    state, _ = loop.resume(state, {})
    sharding = placement.sharding
    reading = {"process": sharding.group, "processes": sharding.groups}
    stream = batches(setup.train, plan, loop.first, loop.total, **reading)
    with loop.running(stream):
        for number, clips in stream:
            bucket = boundary_at(plan, number)
            batch = make_batch(setup.train, clips, answers, shapes[bucket], 1, sharding)
            state, logged = updates[bucket](state, batch)
            logged = jax.device_get(logged)
            processes.exchange(b"", "an update of align")  # after it all know whether one of them was told to stop
            ids = [clip.id for clip in clips]
            loop.end_step(number, logged, f"loss {logged['loss']:.3f}", state, {}, ids=ids)
    loop.finish()
    params = merge(checkpoint.params, state.params)
    norms = {f"{tower}/norm": norm for tower, norm in media_norms(setup, params).items()}
    tell(norms | {f"{tower}/norm_before": norm for tower, norm in before.items()} | {"word_norm": word_norm(params)})
    return params


def projectors(setup: AlignSetup, params: dict, lengths: Mapping[str, float]) -> Adapter:
    """What is trained: the projectors of the towers, whole, as host arrays. Where their tokens are far longer or
    shorter than words, as a random projector's are, they begin at the length of words.

    lengths: tower -> the length of words, in lengths of its tokens."""
    whole = {}
    for tower in setup.settings.align.towers:
        scale = lengths.get(tower, 1.0)
        scale = 1.0 if 1 / FAR_OFF < scale < FAR_OFF else scale
        if scale != 1.0:
            say(
                f"note: {tower} tokens are {1 / scale:.2g} times as long as words; the projector begins at their length"
            )
        names = projector(setup.checkpoint.config, tower)
        parts, last = {name: jax.tree.map(_on_host, params[tower][name]) for name in names}, names[-1]
        whole[tower] = parts | {last: {kind: np.float32(scale) * value for kind, value in parts[last].items()}}
    return Adapter({}, 1.0, whole)


def _on_host(array: jax.Array) -> np.ndarray:
    return np.asarray(on_host(array), np.float32)


def compile_updates(
    setup: AlignSetup,
    checkpoint: Checkpoint,
    state: Any,
    optimizer: optax.GradientTransformation,
    shapes: Mapping[int, InputShape],
    answer_slots: int,
) -> dict[int, Program]:
    """Bucket -> (state, SftBatch) -> (state, metrics), with the base bound to it. shapes: bucket -> sizes of one
    shard's inputs."""
    size, placement, updates = setup.settings.align.batch_size, setup.placement, {}

    def update(base: dict, state: Any, batch: SftBatch) -> tuple[Any, dict]:
        return sft_update(state, base, batch, config=checkpoint.config, optimizer=optimizer, remat="full")

    rows, programs = placement.update.batch(1), Programs(placement.update)
    tokens, mask = (jax.ShapeDtypeStruct((1, size, answer_slots), kind, sharding=rows) for kind in (np.int32, bool))
    out = (placement.update.state(state), placement.update.whole)
    for bucket, shape in shapes.items():
        arguments = (checkpoint.params, state, SftBatch(placement.inputs(shape, size, 1), tokens, mask))
        program = programs.add("update", update, *arguments, label=f"update/{bucket}", donate=(1,), out=out)
        updates[bucket] = program.bind(checkpoint.params)
    programs.report()
    return updates


def identity(setup: AlignSetup, plan: str, answers: np.ndarray) -> dict[str, str]:
    """Hashes of what a checkpoint of this stage depends on, the same on every process."""
    return processes.broadcast(
        lambda: {
            "plan": plan,
            "data": setup.train.manifest.digest,
            "answers": digest(answers.tolist()),
            "policy": fingerprint(setup.checkpoint.directory),
        },
        "what align starts from",
    )


def media_norms(setup: AlignSetup, params: dict) -> dict[str, float]:
    """Tower -> the root of the mean squared length of its tokens' embeddings, over the first clips."""
    last = {tower: (tower, projector(setup.checkpoint.config, tower)[-1]) for tower in setup.settings.align.towers}
    linear = {
        tower: [_on_host(get(params, (*path, kind))) for kind in ("weight", "bias")] for tower, path in last.items()
    }
    total = {tower: np.zeros(2) for tower in linear}
    for _, tower, x in features(setup, params, MEASURED):
        sums = RidgeSums.of(x, np.zeros((len(x), 1)), np.ones(len(x)))
        total[tower] += [len(x) * sums.output_norm(*linear[tower]) ** 2, len(x)]
    parts = setup.placement.sharding.all_gather({tower: sums[None] for tower, sums in total.items()}, "token lengths")
    return {tower: float(np.sqrt(p[:, 0].sum() / p[:, 1].sum())) for tower, p in parts.items() if p[:, 1].sum()}
