"""The cold start: supervised fine-tuning on a teacher's traces that passed the filter."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emsa_jax.config.edge import digest
from emsa_jax.data.batch_order import Plan
from emsa_jax.data.pipeline import batches
from emsa_jax.data.records import Entry, read_index
from emsa_jax.learning.optimizer import build_optimizer
from emsa_jax.learning.state import create_state
from emsa_jax.parallel import processes
from emsa_jax.planning.memory_advice import announce, fit_sft, sft_advice
from emsa_jax.policy.checkpoint import Checkpoint, adapter_fingerprint, fingerprint, load_weights, open_checkpoint
from emsa_jax.policy.hf import read_checked_config
from emsa_jax.policy.inputs import InputShape
from emsa_jax.policy.layout import place
from emsa_jax.rewards.score_answers import AnswerScorer
from emsa_jax.rollout.answering import Asked, asked_clips, predict
from emsa_jax.rollout.encodings import TowerEncoder, open_encoder
from emsa_jax.rollout.prompted_data import Split, modality_dropout, open_split
from emsa_jax.rollout.training_set import open_train
from emsa_jax.runtime.console import say
from emsa_jax.runtime.placement import Placement
from emsa_jax.runtime.run import Run
from emsa_jax.training.artifacts import aligned_policy_dir, records_dir, traces_file
from emsa_jax.training.loop import StageLoop, num_steps
from emsa_jax.training.memory_work import sft_work
from emsa_jax.training.sft_data import answer_table, filtered_traces, label_targets, make_batch, update_sizes
from emsa_jax.training.sft_step import SftStep, compile_sft
from emsa_jax.training.stage_settings import SftSettings
from emsa_jax.training.trained_policy import trained_adapter, trained_and_frozen, trained_for, write_trained

EVAL_CLIPS = 128  # of the validation split, at most


@dataclass(frozen=True, kw_only=True)
class SftSetup:
    """What is known of a cold start before weights are loaded. checkpoint: without weights. answers: of the training
    set, as `answer_table` gives them. shapes: prompt bucket -> the inputs of one shard. asked: the same and the clips,
    of the validation set."""

    settings: SftSettings
    checkpoint: Checkpoint
    placement: Placement
    train: Split
    valid: Split
    answers: np.ndarray
    shapes: Mapping[int, InputShape]
    asked: Mapping[int, Asked]
    score_answers: AnswerScorer


@dataclass(kw_only=True)
class SftProgress:
    """What the cold start keeps between updates, and a checkpoint with it.

    best, best_reward: what is trained, at the highest validation reward so far. misses: evaluations since then.
    stopped: whether there were too many of them."""

    state: Any
    best: Any
    best_reward: float
    misses: int = 0
    stopped: bool = False

    def saved(self, placement: Placement) -> tuple[dict[str, Any], dict[str, Any]]:
        """(arrays, JSON values) of a checkpoint."""
        best_reward = place(np.float32(self.best_reward), placement.update.whole)
        arrays = {"state": self.state, "best": self.best, "best_reward": best_reward}
        return arrays, {"misses": self.misses, "stopped": self.stopped}


def sft(run: Run, settings: SftSettings, refresh_page: Callable[[], None] = lambda: None) -> None:
    """Trains until the validation reward has not risen for `patience` evaluations; writes sft/policy or sft/adapter.

    refresh_page: called after each update. Raises InputError for what cannot work, as far as possible before weights
    are loaded."""
    setup = open_setup(run, settings)
    settings, placement, options = setup.settings, setup.placement, setup.settings.sft
    plan = setup.train.plan(options.batch_size, settings.seed, drop_remainder=True)
    total = num_steps("sft", epochs=options.epochs, max_steps=options.max_steps, plan=plan)
    sizes = update_sizes(plan, total, setup.answers)
    checkpoint = load_weights(setup.checkpoint, settings.dtype, placement.update)
    optimizer = build_optimizer(options.optimizer, total)
    setup.train.load_towers(checkpoint.params)
    trained, frozen = trained_and_frozen(checkpoint, options.trainable, settings.lora, settings.seed, settings.adapter)
    state = placement.state(create_state(place(trained, placement.update.trained(trained)), optimizer))
    del trained
    progress = SftProgress(state=state, best=jax.tree.map(jnp.copy, state.params), best_reward=-np.inf)
    step = compile_sft(
        options,
        checkpoint,
        state=state,
        base=frozen,
        optimizer=optimizer,
        placement=placement,
        train_shapes=setup.shapes,
        sizes=sizes,
        asked=setup.asked,
        max_completion_length=settings.sampling.max_completion_length,
    )
    loop = StageLoop(
        run=run,
        stage="sft",
        title="cold start",
        plan=plan,
        total=total,
        optimizer=options.optimizer,
        save_every=options.save_every,
        identity=identity(setup, plan),
        refresh_page=refresh_page,
        guard=settings.guard,
        strict=settings.strict,
    )
    arrays, meta = loop.resume(*progress.saved(placement))
    best_reward = float(arrays.pop("best_reward"))
    progress = SftProgress(**arrays, best_reward=best_reward, **meta)
    del state, arrays
    train(progress, setup, step, loop, sizes)
    if line := setup.train.encoding_summary():
        say(line)
    extra = {"stage": "sft", "reward": progress.best_reward, "status": loop.finish()}
    learned = trained_for(settings, setup.train.manifest)
    write_trained(run.path("sft"), checkpoint, progress.best, extra, learned)


def open_setup(run: Run, settings: SftSettings) -> SftSetup:
    """Opens the policy's files, what it learns and the devices; chooses the micro-batches, and says what memory an
    update needs."""
    options, directory, asking = settings.sft, aligned_policy_dir(run, settings), settings.evaluate.batch_size
    placement = Placement.of(
        read_checked_config(directory),
        mesh=settings.mesh,
        dtype=settings.dtype,
        trained=settings.lora if options.trainable == "lora" else "all",
    )
    placement.sharding.check(options.batch_size, "sft.batch_size", options.micro_batches)
    placement.sharding.check(asking, "evaluate.batch_size")
    checkpoint = open_checkpoint(directory, weights=False, attention=settings.attention)
    records, shards = records_dir(run, settings, "train"), placement.sharding.num_shards
    data, answers = open_targets(run, settings, records, checkpoint)
    valid = open_split(settings, records, checkpoint, "valid", EVAL_CLIPS)
    encoder = frozen_encoder(run, settings, checkpoint, [*data.entries, *valid.entries])
    data, valid = data.encoded_by(encoder), valid.encoded_by(encoder)
    asked = asked_clips(valid, asking, shards)
    most = max(asked.values(), key=lambda one: one.slots)

    @functools.cache
    def shapes_of(rows: int) -> Mapping[int, InputShape]:
        return data.input_shapes(rows, options.batch_size)

    work = sft_work(
        options,
        dtype=settings.dtype,
        lora=settings.lora,
        trace_slots=answers.shape[1],
        batch_size=most.rows,
        answer_slots=settings.sampling.max_completion_length,
    )

    def longest(prompts: int) -> InputShape:
        return shapes_of(prompts)[max(shapes_of(prompts))]

    work, memory = fit_sft(work, checkpoint.config, placement, longest, most.shape)
    announce(memory, sft_advice(memory, work, placement))
    return SftSetup(
        settings=replace(settings, sft=replace(options, micro_batches=work.micro_batches)),
        checkpoint=checkpoint,
        placement=placement,
        train=data,
        valid=valid,
        answers=answers,
        shapes=shapes_of(options.batch_size // shards // work.micro_batches),
        asked=asked,
        score_answers=AnswerScorer.of(
            valid.prompter.format,
            settings.reward,
            read_index(records, "train"),
            modalities=settings.prompt.modalities,
        ),
    )


def frozen_encoder(
    run: Run, settings: SftSettings, checkpoint: Checkpoint, entries: list[Entry]
) -> TowerEncoder | None:
    """The encoder of the clips, where the cold start leaves the towers as they are."""
    if settings.sft.trainable == "all":
        return None
    adapter = trained_adapter(checkpoint, settings.lora, Path(settings.adapter) if settings.adapter else None)
    options = {"dtype": settings.dtype, "options": settings.encodings, "workdir": run.workdir}
    return open_encoder(checkpoint, entries, settings.prompt.modalities, **options, adapter=adapter)


def open_targets(run: Run, settings: SftSettings, records: Path, checkpoint: Checkpoint) -> tuple[Split, np.ndarray]:
    """(the clips to learn from, their answers as `answer_table` gives them)."""
    options, every = settings.sft, open_train(settings, records, checkpoint)
    if options.targets == "labels":
        traces = label_targets(every, settings.labels.neutral_eps)
    else:
        others = {entry.id: split for split in ("valid", "test") for entry in read_index(records, split)}
        traces = filtered_traces(every, traces_file(run, settings), options.max_per_class, settings.seed, others)
    data = open_train(settings, records, checkpoint, set(traces))
    data = data.balanced(settings.labels.neutral_eps) if settings.balance else data
    return data, answer_table(checkpoint, data, traces, settings.sampling.max_completion_length)


def identity(setup: SftSetup, plan: Plan) -> dict[str, str]:
    """Hashes of what a checkpoint of this stage depends on, the same on every process."""
    adapter = setup.settings.adapter
    return processes.broadcast(
        lambda: {
            "plan": plan.hash,
            "data": setup.train.manifest.digest,
            "answers": digest(setup.answers.tolist()),
            "policy": fingerprint(setup.checkpoint.directory),
            "adapter": adapter_fingerprint(Path(adapter) if adapter else None),
        },
        "what sft starts from",
    )


def train(
    progress: SftProgress, setup: SftSetup, step: SftStep, loop: StageLoop, sizes: Sequence[tuple[int, int]]
) -> None:
    """All updates that are left, unless the validation reward stops to rise before; changes `progress`.

    sizes: (prompt bucket, answer slots) of each step."""
    settings, options, sharding = setup.settings, setup.settings.sft, setup.placement.sharding
    view = modality_dropout(settings.modality_dropout, settings.seed, settings.prompt.modalities)
    reading = {"process": sharding.group, "processes": sharding.groups}
    stream = batches(setup.train, loop.plan, loop.first, loop.total, view=view, **reading)
    with loop.running(stream):
        for number, clips in () if progress.stopped else stream:
            bucket, slots = sizes[number]
            answers, shape = setup.answers[:, :slots], setup.shapes[bucket]
            batch = make_batch(setup.train, clips, answers, shape, options.micro_batches, sharding)
            progress.state, logged = step.update[bucket, slots](progress.state, batch)
            logged = jax.device_get(logged)
            evaluated = (number + 1) % options.eval_every == 0 or number + 1 == loop.total
            if evaluated:
                reward = logged["eval/reward"] = validation_reward(progress.state.params, setup, step)
                progress.misses = 0 if reward > progress.best_reward else progress.misses + 1
                if reward >= progress.best_reward:  # of equals, what was trained longest
                    best = jax.tree.map(jnp.copy, progress.state.params)
                    progress.best, progress.best_reward = best, reward
                progress.stopped = progress.misses >= options.patience
            processes.exchange(b"", "an update of sft")  # after it all know whether one of them was told to stop
            note = f"loss {logged['loss']:.3f}  best validation reward {progress.best_reward:.2f}"
            ids = [clip.id for clip in clips]
            loop.end_step(number, logged, note, *progress.saved(setup.placement), save=evaluated, ids=ids)
            if progress.stopped:
                say(
                    f"cold start: no rise of the validation reward for {progress.misses} evaluations, stopped at "
                    f"update {number + 1}"
                )
                break


def validation_reward(trained: Any, setup: SftSetup, step: SftStep) -> float:
    """The mean reward of greedy answers to the validation split, as float32: as a checkpoint keeps the best one, so
    that ties stay ties."""
    settings, valid, sharding = setup.settings, setup.valid, setup.placement.sharding
    params, adapter = step.decoded(trained)

    def answer(bucket: int, *rest: Any) -> Any:
        return step.answer[bucket](params, adapter, *rest)

    done = predict(valid, answer, settings.evaluate.batch_size, settings.seed, sharding)
    totals = [
        setup.score_answers([valid.entries[i] for i in indices], texts, ended).total for indices, texts, ended in done
    ]
    return float(np.float32(np.mean(sharding.all_gather(np.concatenate(totals), "validation rewards"))))
