"""Hint-GRPO: sample groups, hint at the hard ones, reward, learn."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import optax

from emsa_jax.config.edge import pick
from emsa_jax.data.batch_order import Plan, boundary_at
from emsa_jax.data.pipeline import batches
from emsa_jax.learning.grpo_update import GrpoBatch
from emsa_jax.learning.optimizer import build_optimizer
from emsa_jax.learning.state import copied, create_state
from emsa_jax.parallel import processes
from emsa_jax.planning.memory_advice import announce, fit_grpo, grpo_advice
from emsa_jax.policy import peft
from emsa_jax.policy.checkpoint import Checkpoint, adapter_fingerprint, fingerprint, load_weights, open_checkpoint
from emsa_jax.policy.flops import group_flops
from emsa_jax.policy.inputs import InputShape
from emsa_jax.policy.layout import place
from emsa_jax.policy.lora import init_adapter
from emsa_jax.rewards.score_answers import AnswerScorer
from emsa_jax.rewards.trigger import Trigger
from emsa_jax.rollout.expected_scores import ScoreTree
from emsa_jax.rollout.hints import Hints
from emsa_jax.rollout.prompted_data import Split, modality_dropout
from emsa_jax.rollout.training_set import open_train
from emsa_jax.runtime.clock import Clock
from emsa_jax.runtime.console import say
from emsa_jax.runtime.hardware import peak_flops
from emsa_jax.runtime.placement import Placement
from emsa_jax.runtime.profiler import profiled
from emsa_jax.runtime.run import Run
from emsa_jax.training.artifacts import cold_started, records_dir
from emsa_jax.training.examples import ExampleOptions, make_examples, num_rows, with_reference
from emsa_jax.training.loop import StageLoop, num_steps, prepare_ahead
from emsa_jax.training.memory_work import grpo_work
from emsa_jax.training.phases import further_phases
from emsa_jax.training.rollouts import RolloutTools, sample_with_hints
from emsa_jax.training.stage_settings import GrpoSettings
from emsa_jax.training.step import Base, GrpoPrograms, GrpoStep, compile_grpo
from emsa_jax.training.step_functions import StepOptions
from emsa_jax.training.step_metrics import (
    combine_updates,
    count_step,
    missing_signal,
    sample_lines,
    step_metrics,
    step_speed,
)
from emsa_jax.training.trained_policy import trained_adapter, trained_for, warn_of_unseen_towers, write_trained
from emsa_jax.training.validation import Progress, Validation, open_validation

EVAL_CLIPS = 64  # of the validation split, at most; evenly over it
WRITTEN_PROMPTS = 2  # of each step: the texts of their answers are written out


@dataclass(frozen=True, kw_only=True)
class GrpoSetup:
    """What is known of a run of GRPO before weights are loaded.

    base_dir, adapter_dir: the policy that it starts from, and the adapter that is the reference, or None.
    checkpoint: without weights. shapes: prompt bucket -> the inputs of one shard. validation: None where nothing is
    looked at while it learns. warned: what was warned of already."""

    settings: GrpoSettings
    base_dir: Path
    adapter_dir: Path | None
    checkpoint: Checkpoint
    placement: Placement
    train: Split
    hints: Hints
    shapes: Mapping[int, InputShape]
    validation: Validation | None
    warned: tuple[str, ...]

    @functools.cached_property
    def tree(self) -> ScoreTree | None:
        """Of the scores that the reward expects; None where it is for the scores that answers have."""
        expects = self.settings.reward.score == "expected"
        return ScoreTree.of(self.checkpoint, self.train.prompter.format) if expects else None


@dataclass(frozen=True, kw_only=True)
class LoadedPolicy:
    """The policy on the devices. reference: the adapter of the reference policy, or None. state: before the first
    update."""

    checkpoint: Checkpoint
    base: Base
    reference: Any
    state: Any


def grpo(run: Run, settings: GrpoSettings, refresh_page: Callable[[], None] = lambda: None) -> None:
    """Trains an adapter over the frozen base, with the cold start as the reference; writes grpo/adapter.

    refresh_page: called after each step. Raises InputError for what cannot work, as far as possible before weights are
    loaded."""
    setup = choose_micro_batches(open_setup(run, settings))
    settings, options = setup.settings, setup.settings.grpo
    plan = setup.train.plan(options.prompts_per_step, settings.seed, drop_remainder=True)
    lasting = {"epochs": options.epochs, "max_steps": options.max_steps, "updates": options.num_iterations}
    total = num_steps("grpo", plan, options.optimizer, **lasting)
    more = further_phases("grpo", options, options.num_iterations)
    policy = load_policy(setup, build_optimizer(options.optimizer, total * options.num_iterations))
    loop = StageLoop(
        run=run,
        stage="grpo",
        title="grpo",
        plan=plan,
        total=total,
        updates=options.num_iterations,
        optimizer=options.optimizer,
        save_every=options.save_every,
        identity=identity(setup, plan),
        refresh_page=refresh_page,
        guard=settings.guard,
        strict=settings.strict,
        warned=setup.warned,
        more=more,
    )
    progress = Progress.start(policy.state, setup.validation is not None)
    progress = Progress.restored(*loop.resume(*progress.saved()))
    for begins in loop.phases():
        optimizer = build_optimizer(loop.optimizer, loop.phase_updates)
        if begins:
            progress.begin_anew(setup.placement.state(create_state(copied(progress.kept), optimizer)))
        train(progress, setup, policy.checkpoint, compile_phase(setup, policy, progress.state, optimizer), loop)
    if line := setup.train.encoding_summary():
        say(line)
    if line := kept_line(progress, loop.total):
        say(line)
    extra = {"stage": "grpo", "status": loop.finish(progress)}
    learned = trained_for(settings, setup.train.manifest)
    write_trained(run.path("grpo"), policy.checkpoint, progress.kept, extra, learned)


def compile_phase(
    setup: GrpoSetup, policy: LoadedPolicy, state: Any, optimizer: optax.GradientTransformation
) -> GrpoPrograms:
    """The programs of a phase, which has an optimizer of its own. state: what it begins with."""
    return compile_grpo(
        pick(StepOptions, setup.settings),
        policy.checkpoint.config,
        setup.shapes,
        base=policy.base,
        reference=policy.reference,
        state=state,
        optimizer=optimizer,
        hints=setup.hints,
        placement=setup.placement,
        tree=setup.tree,
        asked=setup.validation.asked if setup.validation else None,
    )


def kept_line(progress: Progress, total: int) -> str:
    """What is said of the adapter that is kept, "" where it is the last one and no worse than what GRPO began with."""
    step, reward, first = progress.best_step, progress.best_reward, progress.first_reward
    if first is not None and step and reward < first:
        return (
            f"note: grpo: the greedy reward of validation clips fell from {first:.3f} after the first step to "
            f"{reward:.3f} at best, after step {step}, whose adapter is kept; lower grpo.optimizer.learning_rate or "
            "raise loss.beta"
        )
    if not 0 < step < total:
        return ""
    return f"grpo: the adapter of step {step} is kept, whose validation reward was highest ({reward:.3f})"


def open_setup(run: Run, settings: GrpoSettings) -> GrpoSetup:
    """Opens the policy's files, the training set and the devices."""
    options = settings.grpo
    base_dir, adapter_dir = cold_started(run, settings)
    checkpoint = open_checkpoint(base_dir, weights=False, attention=settings.attention)
    placement = Placement.of(checkpoint.config, mesh=settings.mesh, dtype=settings.dtype, trained=settings.lora)
    placement.sharding.check(options.prompts_per_step, "grpo.prompts_per_step", options.micro_batches)
    data = open_train(settings, records_dir(run, settings, "train"), checkpoint)
    data = data.balanced(settings.labels.neutral_eps) if settings.balance else data
    adapter = trained_adapter(checkpoint, settings.lora, adapter_dir)
    warned = warn_of_unseen_towers("grpo", adapter, data, settings)
    valid = open_looks(settings, records_dir(run, settings, "train"), checkpoint)
    data = data.encoded(settings, run.workdir, adapter, beside=valid.entries if valid else ())
    shards = placement.sharding.num_shards
    hints = Hints.of(
        settings.hint,
        checkpoint,
        data,
        max_completion_length=settings.sampling.max_completion_length,
        prompts=options.prompts_per_step,
        shards=shards,
    )
    return GrpoSetup(
        settings=settings,
        base_dir=base_dir,
        adapter_dir=adapter_dir,
        checkpoint=checkpoint,
        placement=placement,
        train=data,
        hints=hints,
        shapes=data.input_shapes(options.prompts_per_step // shards, options.prompts_per_step),
        validation=valid
        and Validation.of(
            valid.encoded_by(data.prompter.encoder),
            records_dir(run, settings, "train"),
            settings,
            batch_size=options.prompts_per_step,  # which needs less memory than the answers of a step
            seed=settings.seed,
            sharding=placement.sharding,
        ),
        warned=warned,
    )


def open_looks(settings: GrpoSettings, records: Path, checkpoint: Checkpoint) -> Split | None:
    """The validation clips that are looked at while GRPO learns; None, with a note, where there are none."""
    if not settings.grpo.eval_every:
        return None
    valid = open_validation(settings, records, checkpoint, EVAL_CLIPS)
    if valid is None:
        say(
            f"note: grpo: {records} has no clips of mode valid, so that nobody looks whether answers collapse "
            "(grpo.eval_every), and the last adapter is kept"
        )
    return valid


def choose_micro_batches(setup: GrpoSetup) -> GrpoSetup:
    """The same with as many micro-batches as are asked for, or as fit; says what memory a step needs."""
    settings, policy, placement = setup.settings, setup.checkpoint.config, setup.placement
    work = grpo_work(
        settings.grpo,
        dtype=settings.dtype,
        lora=settings.lora,
        answer_slots=setup.hints.slots,
        reference=setup.adapter_dir is not None,
        ends=len(setup.tree.tokens) if setup.tree else 0,
    )
    work, memory = fit_grpo(work, policy, placement, setup.shapes[max(setup.shapes)])
    announce(memory, grpo_advice(memory, work, placement))
    options = replace(settings.grpo, micro_batches=work.micro_batches)
    return replace(setup, settings=replace(settings, grpo=options))


def load_policy(setup: GrpoSetup, optimizer: optax.GradientTransformation) -> LoadedPolicy:
    """Loads the weights. optimizer: of the first phase."""
    settings, config, placement = setup.settings, setup.checkpoint.config, setup.placement
    reference = peft.load_adapter(setup.adapter_dir, config) if setup.adapter_dir else None
    if reference is not None:
        reference = place(reference, placement.update.adapter(reference))
    checkpoint = load_weights(setup.checkpoint, settings.dtype, placement.update)
    if reference is not None:
        adapter = copied(reference)
    else:
        adapter = init_adapter(config, settings.lora, jax.random.key(settings.seed), checkpoint.params)
    setup.train.load_towers(checkpoint.params)
    return LoadedPolicy(
        checkpoint=checkpoint,
        base=Base(checkpoint.params, placement.for_decoding(checkpoint.params)),
        reference=reference,
        state=placement.state(create_state(adapter, optimizer)),
    )


def identity(setup: GrpoSetup, plan: Plan) -> dict[str, str]:
    """Hashes of what a checkpoint of this stage depends on, the same on every process."""
    return processes.broadcast(
        lambda: {
            "plan": plan.hash,
            "data": setup.train.manifest.digest,
            "policy": fingerprint(setup.base_dir),
            "reference": adapter_fingerprint(setup.adapter_dir),
        },
        "what grpo starts from",
    )


def train(
    progress: Progress, setup: GrpoSetup, checkpoint: Checkpoint, programs: GrpoPrograms, loop: StageLoop
) -> None:
    """All steps that are left; changes `progress`."""
    settings, hints, sharding = setup.settings, setup.hints, setup.placement.sharding
    options = pick(ExampleOptions, settings)
    peak = peak_flops()  # may compile, which the first step is not to count
    clock = Clock()
    format, level = setup.train.prompter.format, settings.hint.levels
    tools = RolloutTools(
        seed=settings.seed,
        checkpoint=setup.checkpoint,
        hints=hints,
        score_answers=AnswerScorer.of(format, settings.reward, setup.train.entries, level, settings.prompt.modalities),
        trigger=Trigger.of(settings.hint, settings.reward, format),
        sharding=sharding,
        clock=clock,
        tree=setup.tree,
    )
    stream = prepared_batches(setup, loop)
    with (
        loop.running(stream),
        jax.transfer_guard("disallow"),
        profiled(loop.run, settings.profile, loop.first) as step_begins,
    ):
        while (item := clock.run("wait", next, stream, None)) is not None:
            number, clips, bucket, inputs = item
            if settings.profile:
                step_begins(number)
            step, state = programs.steps[bucket], progress.state
            adapter = step.relayout(state.params) if step.relayout else state.params
            prompts = clock.run("encode", step.encode, adapter, inputs)
            cache = clock.run("prefill", step.prefill, adapter, prompts)
            rollout = sample_with_hints(step, adapter, cache, clips, step=number, tools=tools)
            del cache  # the update needs its memory
            loop.stop_if_asked(number, *progress.saved(), saved=loop.is_saved(number))
            examples = make_examples(rollout, clips, options, hints, sharding)
            examples = with_reference(
                step, examples, inputs, prompts, adapter=state.params, options=options, sharding=sharding, clock=clock
            )
            progress.state, learned = update(
                step, state, prompts, inputs, examples, settings.grpo.num_iterations, clock
            )
            counts = count_step(
                rollout,
                examples,
                inputs,
                flops=group_flops(checkpoint.config, progress.state.params, inputs, rollout.first.length),
                lines=sample_lines(number + 1, rollout, clips, WRITTEN_PROMPTS, sharding),
                sharding=sharding,
            )
            values = step_metrics(counts, combine_updates(jax.device_get(learned)))
            values |= step_speed(
                counts,
                clock,
                peak=peak,
                reference=settings.loss.beta > 0,
                num_iterations=settings.grpo.num_iterations,
            )
            loop.write_answers(number, counts.lines.tobytes())
            values |= look(progress, setup, programs, loop, number)
            signal, ids = missing_signal(counts, settings), [clip.id for clip in clips]
            loop.end_step(number, values, note(values), *progress.saved(), ids=ids, no_signal=signal)
            clock.restart()


def look(progress: Progress, setup: GrpoSetup, programs: GrpoPrograms, loop: StageLoop, step: int) -> dict[str, float]:
    """What a look at the validation split adds to the row of a step, which changes `progress`; {} where none is due:
    after the first step, to see where it began, every `eval_every`, and after the last."""
    done, every = step + 1, setup.settings.grpo.eval_every
    if setup.validation is None or (done % every and done not in (1, loop.total)):
        return {}
    begun = time.monotonic()
    found = setup.validation.look(programs.answers_of(progress.state.params), f"grpo, after step {done}")
    if done % every and done < loop.total:
        progress.note_first(found.reward)
        kept = False
    else:
        kept = progress.judge(found.reward, done)
    loop.note_answers(step, found, kept=kept, at_once=True)
    return found.metrics() | {"eval_time": time.monotonic() - begun}


def prepared_batches(setup: GrpoSetup, loop: StageLoop) -> Iterator[tuple]:
    """(step, clips, prompt bucket, inputs) of each step that is left, one made ahead by a thread."""
    settings, sharding, data = setup.settings, setup.placement.sharding, setup.train

    def prepare(item: tuple) -> tuple:
        step, clips = item
        bucket = boundary_at(loop.plan, step)
        return step, clips, bucket, data.prompter.inputs(clips, setup.shapes[bucket], len(clips), sharding)

    view = modality_dropout(settings.modality_dropout, settings.seed, settings.prompt.modalities)
    reading = {"process": sharding.group, "processes": sharding.groups}
    return prepare_ahead(batches(data, loop.plan, loop.first, loop.total, view=view, **reading), prepare)


def update(
    step: GrpoStep, state: Any, prompts: Any, inputs: Any, examples: GrpoBatch, num_iterations: int, clock: Clock
) -> tuple[Any, list[dict[str, Any]]]:
    """(state after all updates of a step, the metrics of each)."""
    learned = []
    for _ in range(num_iterations):
        program = step.update[num_rows(examples)]
        state, found = clock.run("update", program, state, prompts, inputs, examples)
        learned.append(found)
    return state, learned


def note(values: Mapping[str, float]) -> str:
    """What stands beside the progress of a step."""
    rate, kl = values["hint/trigger_rate"], values.get("kl", 0)
    return f"reward {values['reward']:.2f}  hard {rate:.0%}  kl {kl:.3f}"
