"""The cold start: supervised fine-tuning on a teacher's traces that passed the filter."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import numpy as np

from emsa_jax.config.edge import digest
from emsa_jax.data.batch_order import Plan
from emsa_jax.data.pipeline import batches
from emsa_jax.data.records import read_index
from emsa_jax.errors import InputError
from emsa_jax.learning.optimizer import build_optimizer
from emsa_jax.learning.state import copied, create_state
from emsa_jax.parallel import processes
from emsa_jax.planning.memory_advice import announce, fit_sft, sft_advice
from emsa_jax.policy.checkpoint import Checkpoint, adapter_fingerprint, fingerprint, load_weights, open_checkpoint
from emsa_jax.policy.hf import read_checked_config
from emsa_jax.policy.inputs import InputShape
from emsa_jax.policy.layout import place
from emsa_jax.rollout.asked import asked_ways
from emsa_jax.rollout.prompted_data import Split, modality_dropout
from emsa_jax.rollout.training_set import open_train
from emsa_jax.runtime.console import say
from emsa_jax.runtime.placement import Placement
from emsa_jax.runtime.run import Run
from emsa_jax.training.artifacts import aligned_policy_dir, records_dir, traces_file
from emsa_jax.training.loop import StageLoop, num_steps
from emsa_jax.training.memory_work import sft_work
from emsa_jax.training.phases import further_phases
from emsa_jax.training.sft_data import (
    answer_table,
    can_write,
    cue_targets,
    filtered_traces,
    label_targets,
    make_batch,
    update_sizes,
)
from emsa_jax.training.sft_step import SftStep, compile_sft
from emsa_jax.training.stage_settings import SftSettings
from emsa_jax.training.trained_policy import (
    trained_adapter,
    trained_and_frozen,
    trained_for,
    warn_of_unseen_towers,
    write_trained,
)
from emsa_jax.training.validation import Progress, Validation, open_validation

EVAL_CLIPS = 128  # of the validation split, at most; evenly over it


@dataclass(frozen=True, kw_only=True)
class SftSetup:
    """What is known of a cold start before weights are loaded. checkpoint: without weights. answers: of the training
    set, as `answer_table` gives them. shapes: prompt bucket -> the inputs of one shard. warned: what was warned of
    already."""

    settings: SftSettings
    checkpoint: Checkpoint
    placement: Placement
    train: Split
    validation: Validation
    answers: np.ndarray
    shapes: Mapping[int, InputShape]
    warned: tuple[str, ...]


def sft(run: Run, settings: SftSettings, refresh_page: Callable[[], None] = lambda: None) -> None:
    """Trains until the validation reward has not risen for `patience` evaluations; writes sft/policy or sft/adapter.

    refresh_page: called after each update. Raises InputError for what cannot work, as far as possible before weights
    are loaded."""
    setup = open_setup(run, settings)
    settings, placement, options = setup.settings, setup.placement, setup.settings.sft
    plan = setup.train.plan(options.batch_size, settings.seed, drop_remainder=True)
    total = num_steps("sft", plan, options.optimizer, epochs=options.epochs, max_steps=options.max_steps)
    more = further_phases("sft", options)
    checkpoint = load_weights(setup.checkpoint, settings.dtype, placement.update)
    optimizer = build_optimizer(options.optimizer, total)
    setup.train.load_towers(checkpoint.params)
    trained, frozen = trained_and_frozen(checkpoint, options.trainable, settings.lora, settings.seed, settings.adapter)
    state = placement.state(create_state(place(trained, placement.update.trained(trained)), optimizer))
    del trained
    progress = Progress.start(state, validated=True)
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
        warned=setup.warned,
        more=more,
    )
    progress = Progress.restored(*loop.resume(*progress.saved()))
    del state
    for begins in loop.phases(lambda: progress.stopped):
        optimizer = build_optimizer(loop.optimizer, loop.phase_updates)
        if begins:
            progress.begin_anew(placement.state(create_state(copied(progress.kept), optimizer)))
        sizes = update_sizes(plan, loop.total, setup.answers)
        step = compile_sft(
            options,
            checkpoint,
            state=progress.state,
            base=frozen,
            optimizer=optimizer,
            placement=placement,
            train_shapes=setup.shapes,
            sizes=sizes[loop.first :],
            asked=setup.validation.asked,
            max_completion_length=settings.sampling.max_completion_length,
        )
        train(progress, setup, step, loop, sizes)
    if line := setup.train.encoding_summary():
        say(line)
    extra = {"stage": "sft", "reward": progress.best_reward, "status": loop.finish(progress, last=False)}
    learned = trained_for(settings, setup.train.manifest)
    write_trained(run.path("sft"), checkpoint, progress.kept, extra, learned)


def open_setup(run: Run, settings: SftSettings) -> SftSetup:
    """Opens the policy's files, what it learns and the devices; chooses the micro-batches, and says what memory an
    update needs."""
    options, directory = settings.sft, aligned_policy_dir(run, settings)
    placement = Placement.of(
        read_checked_config(directory),
        mesh=settings.mesh,
        dtype=settings.dtype,
        trained=settings.lora if options.trainable == "lora" else "all",
    )
    placement.sharding.check(options.batch_size, "sft.batch_size", options.micro_batches)
    placement.sharding.check(settings.evaluate.batch_size, "evaluate.batch_size")
    checkpoint = open_checkpoint(directory, weights=False, attention=settings.attention)
    records, shards = records_dir(run, settings, "train"), placement.sharding.num_shards
    data, answers = open_targets(run, settings, records, checkpoint)
    valid = open_validation(settings, records, checkpoint, EVAL_CLIPS)
    if valid is None:
        raise InputError(f"{records}: the cold start needs clips of mode valid, and there are none")
    warned: tuple[str, ...] = ()
    if options.trainable == "lora":
        over = trained_adapter(checkpoint, settings.lora, Path(settings.adapter) if settings.adapter else None)
        warned = warn_of_unseen_towers("sft", over, data, settings)
        data = data.encoded(settings, run.workdir, over, beside=valid.entries)
    valid = valid.encoded_by(data.prompter.encoder)
    asking = {"batch_size": settings.evaluate.batch_size, "seed": settings.seed, "sharding": placement.sharding}
    validation = Validation.of(valid, records, settings, **asking)
    most = max(validation.asked.values(), key=lambda one: one.slots)

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
        validation=validation,
        answers=answers,
        shapes=shapes_of(options.batch_size // shards // work.micro_batches),
        warned=warned,
    )


def open_targets(run: Run, settings: SftSettings, records: Path, checkpoint: Checkpoint) -> tuple[Split, np.ndarray]:
    """(the clips to learn from, their answers as `answer_table` gives them)."""
    options, every = settings.sft, open_train(settings, records, checkpoint)
    if options.targets == "labels":
        traces = label_targets(every, settings.labels.neutral_eps)
    elif options.targets == "cues":
        traces = cue_targets(every)
    else:
        others = {entry.id: split for split in ("valid", "test") for entry in read_index(records, split)}
        traces = filtered_traces(every, traces_file(run, settings), options.max_per_class, settings.seed, others)
    data = open_train(settings, records, checkpoint, set(traces))
    data = data.balanced(settings.labels.neutral_eps) if settings.balance else data
    format = data.prompter.format
    data = asked_ways(data, options.asks, lambda entry, way: can_write(format, traces[entry.id], way))
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
    progress: Progress, setup: SftSetup, step: SftStep, loop: StageLoop, sizes: Sequence[tuple[int, int]]
) -> None:
    """All updates that are left, unless the validation reward stops to rise before; changes `progress`.

    sizes: (prompt bucket, answer slots) of each step."""
    settings, options, sharding = setup.settings, setup.settings.sft, setup.placement.sharding
    view = modality_dropout(settings.modality_dropout, settings.seed, settings.prompt.modalities)
    reading = {"process": sharding.group, "processes": sharding.groups}
    stream = batches(setup.train, loop.plan, loop.first, loop.total, view=view, **reading)
    with loop.running(stream):
        for number, clips in stream:
            bucket, slots = sizes[number]
            answers, shape = setup.answers[:, :slots], setup.shapes[bucket]
            batch = make_batch(setup.train, clips, answers, shape, options.micro_batches, sharding)
            progress.state, logged = step.update[bucket, slots](progress.state, batch)
            logged = jax.device_get(logged)
            evaluated = (number + 1) % options.eval_every == 0 or number + 1 == loop.total
            if evaluated:
                look = setup.validation.look(step.answers_of(progress.state.params), f"sft, after update {number + 1}")
                logged |= look.metrics()
                loop.note_answers(number, look, kept=progress.judge(look.reward, number + 1))
                progress.stopped = progress.misses >= options.patience
            processes.exchange(b"", "an update of sft")  # after it all know whether one of them was told to stop
            best = f"  best validation reward {progress.best_reward:.2f}" if np.isfinite(progress.best_reward) else ""
            note = f"loss {logged['loss']:.3f}{best}"
            ids = [clip.id for clip in clips]
            loop.end_step(number, logged, note, *progress.saved(), save=evaluated, ids=ids)
            if progress.stopped:
                say(
                    f"cold start: no rise of the validation reward for {progress.misses} evaluations, stopped at "
                    f"update {number + 1}"
                )
                break
