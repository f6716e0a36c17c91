"""The cold start: supervised fine-tuning on a teacher's traces that passed the filter."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from emsa_jax.answers.labels import polarity_of
from emsa_jax.answers.recorded_traces import cap_traces, read_any_traces
from emsa_jax.answers.traces import Trace, filter_traces
from emsa_jax.config.edge import digest
from emsa_jax.data.batch_order import boundary_at
from emsa_jax.data.pipeline import batches
from emsa_jax.data.records import read_index
from emsa_jax.errors import InputError
from emsa_jax.learning.checkpoints import Checkpoints
from emsa_jax.learning.optimizer import build_optimizer, learning_rate_schedule
from emsa_jax.learning.sft_update import SftBatch, split_trained
from emsa_jax.learning.state import create_state
from emsa_jax.parallel import preemption, processes
from emsa_jax.parallel.batch_sharding import SINGLE_PROCESS, BatchSharding
from emsa_jax.planning.memory_advice import announce, fit_sft, sft_advice
from emsa_jax.policy import hf, peft
from emsa_jax.policy.checkpoint import Checkpoint, adapter_fingerprint, fingerprint, load_weights, open_checkpoint
from emsa_jax.policy.hf import read_checked_config
from emsa_jax.policy.inputs import InputShape
from emsa_jax.policy.layout import place
from emsa_jax.policy.lora import init_adapter
from emsa_jax.report.run_report import LivePage
from emsa_jax.rewards.score_answers import AnswerScorer
from emsa_jax.rollout.answering import predict
from emsa_jax.rollout.prompted_data import Split, open_split, shown
from emsa_jax.rollout.prompts import answer_ids
from emsa_jax.rollout.training_set import open_train
from emsa_jax.runtime.console import progress, say
from emsa_jax.runtime.placement import Placement
from emsa_jax.runtime.programs import tabulate
from emsa_jax.runtime.resume import resume
from emsa_jax.runtime.run import Run
from emsa_jax.settings.config import Config
from emsa_jax.training.artifacts import policy_dir, records_dir, traces_file, weights_fingerprint
from emsa_jax.training.memory_work import sft_work
from emsa_jax.training.sft_step import compile_sft

EVAL_CLIPS = 128  # of the validation split, at most


def sft(run: Run, config: Config) -> None:
    """Trains until the validation reward has not risen for `patience` evaluations; writes sft/policy or sft/adapter."""
    directory = policy_dir(run, config)
    trained_part = config.lora if config.sft.trainable == "lora" else "all"
    placement = Placement.of(read_checked_config(directory), mesh=config.mesh, dtype=config.dtype, trained=trained_part)
    sharding = placement.sharding
    sharding.check(config.sft.batch_size, "sft.batch_size", config.sft.micro_batches)
    sharding.check(config.evaluate.batch_size, "evaluate.batch_size")
    checkpoint = open_checkpoint(directory, weights=False, attention=config.attention)
    records = records_dir(run, config, "train")
    if config.sft.targets == "labels":
        traces = label_targets(config, records, checkpoint)
    else:
        traces = kept_traces(config, records, traces_file(run, config), checkpoint)
    train = open_train(config, records, checkpoint, set(traces))
    train = train.balanced(config.labels.neutral_eps) if config.balance else train
    valid = open_split(config, records, checkpoint, "valid", EVAL_CLIPS)
    answers = answer_table(checkpoint, train, traces, config.sampling.max_completion_length)
    each, asking = config.sft.batch_size // sharding.num_shards, config.evaluate.batch_size
    asked, budgets_of = valid.input_shapes(asking // sharding.num_shards), functools.cache(train.input_shapes)

    def budget_of(prompts: int) -> InputShape:
        budgets = budgets_of(prompts)
        return budgets[max(budgets)]

    work = sft_work(
        config.sft,
        dtype=config.dtype,
        lora=config.lora,
        trace_slots=answers.shape[1],
        batch_size=asking,
        answer_slots=config.sampling.max_completion_length,
    )
    work, memory = fit_sft(work, checkpoint.config, placement, budget_of, asked[max(asked)])
    announce(memory, sft_advice(memory, work, placement))
    config = dataclasses.replace(config, sft=dataclasses.replace(config.sft, micro_batches=work.micro_batches))
    options = config.sft
    budgets = budgets_of(each // options.micro_batches)
    checkpoint = load_weights(checkpoint, config.dtype, placement.update)

    plan = train.plan(options.batch_size, config.seed, drop_remainder=True)
    total = options.max_steps or int(options.epochs * plan.batches_per_epoch)
    if not total:
        raise InputError(f"sft.epochs: {options.epochs:g} of {plan.batches_per_epoch} batches is no update; raise it")
    optimizer = build_optimizer(options.optimizer, total)
    trained, base = start(config, checkpoint, options.trainable)
    state = placement.state(create_state(place(trained, placement.update.trained(trained)), optimizer))
    trained = state.params
    best = {"params": jax.tree.map(jnp.copy, trained), "reward": np.float32(-np.inf)}

    compiled = compile_sft(
        options,
        checkpoint,
        state=state,
        base=base,
        optimizer=optimizer,
        placement=placement,
        train_shapes=budgets,
        answer_slots=answers.shape[1],
        valid_shapes=asked,
        valid_batch=asking,
        max_completion_length=config.sampling.max_completion_length,
    )

    checkpoints = Checkpoints(run.path("sft", "checkpoints"))
    identity = processes.broadcast(
        lambda: {
            "plan": plan.hash,
            "data": train.manifest.digest,
            "answers": digest(answers.tolist()),
            "policy": fingerprint(checkpoint.directory),
            "adapter": adapter_fingerprint(Path(config.adapter) if config.adapter else None),
        },
        "what sft starts from",
    )
    fresh = {"state": state, "best": best["params"], "best_reward": place(np.float32(-np.inf), placement.update.whole)}
    saved, meta, first = resume(checkpoints, fresh, identity, {"misses": 0, "stopped": False})
    state, best, best_reward, misses = saved["state"], saved["best"], float(saved["best_reward"]), meta["misses"]
    log = run.metrics("sft")
    log.truncate_after(first)
    rates = tabulate(learning_rate_schedule(options.optimizer, total), total)
    score_answers = AnswerScorer.of(valid.prompter.format, config.reward, read_index(records, "train"))

    def evaluate() -> float:
        params, adapter = compiled.decoded(state.params)
        done = predict(
            valid,
            lambda bucket, *rest: compiled.answer[bucket](params, adapter, *rest),
            asking,
            config.seed,
            sharding,
        )
        totals = [
            score_answers([valid.entries[i] for i in indices], texts, ended).total for indices, texts, ended in done
        ]
        every = sharding.all_gather(np.concatenate(totals), "validation rewards")
        return float(np.float32(np.mean(every)))  # as a checkpoint keeps the best: ties stay ties

    def save(step: int) -> None:
        checkpoints.save(
            step,
            {"state": state, "best": best, "best_reward": place(np.float32(best_reward), placement.update.whole)},
            meta | identity | {"misses": misses},
        )

    stream = batches(train, plan, first, total, view=shown(config), process=sharding.group, processes=sharding.groups)
    page = LivePage(run, config)
    with progress(total, "cold start", first) as advance, contextlib.closing(stream), preemption.deferred():
        for step, clips in () if meta["stopped"] else stream:
            batch = make_batch(train, clips, answers, budgets[boundary_at(plan, step)], options.micro_batches, sharding)
            state, logged = compiled.update[boundary_at(plan, step)](state, batch)
            now = step + 1
            logged = jax.device_get(logged) | {"learning_rate": rates[step], "epoch": now / plan.batches_per_epoch}
            evaluated = now % options.eval_every == 0 or now == total
            if evaluated:
                reward = evaluate()
                logged["eval/reward"] = reward
                misses = 0 if reward > best_reward else misses + 1
                if reward > best_reward:
                    best, best_reward = jax.tree.map(jnp.copy, state.params), reward
                meta["stopped"] = misses >= options.patience
            log.write(now, logged)
            advance(note=f"loss {logged['loss']:.3f}  best validation reward {best_reward:.2f}")
            due = evaluated or now % options.save_every == 0
            if due:
                save(now)
            page.refresh()
            processes.exchange(b"", "an update of sft")  # tells who was told to stop
            if preemption.is_agreed(processes.process_count()):
                if not due:
                    save(now)
                preemption.exit_saved(now, "sft", processes.is_main())
            if meta["stopped"]:
                say(f"cold start: no rise of the validation reward for {misses} evaluations, stopped at update {now}")
                break
    write_trained(run.path("sft"), checkpoint, best, {"stage": "sft", "reward": best_reward})


def kept_traces(config: Config, records: Path, path: Path, checkpoint: Checkpoint) -> dict[str, Trace]:
    """Train clip id -> trace that passed the filter, its score the true one. Says how many were dropped and why."""
    train = open_train(config, records, checkpoint)
    clips = {entry.id: entry for entry in train.entries}
    kept, rejected = filter_traces(read_any_traces(path), clips, train.prompter.format)
    reasons = {why: sum(r == why for r in rejected.values()) for why in sorted(set(rejected.values()))}
    say(
        f"traces: {len(kept)} kept, {len(rejected)} dropped"
        + "".join(f"; {count}: {why}" for why, count in reasons.items())
    )
    if not kept:
        raise InputError(f"{path}: no trace passed the filter; the cold start has nothing to learn from")
    if len(chosen := cap_traces(kept, config.sft.max_per_class, config.seed)) < len(kept):
        say(f"traces: {len(chosen)} of them taken, at most {config.sft.max_per_class} of a class")
    return {trace.id: trace for trace in chosen}


def label_targets(config: Config, records: Path, checkpoint: Checkpoint) -> dict[str, Trace]:
    """Train clip id -> its label alone, for formats without reasoning."""
    entries = [entry for entry in open_train(config, records, checkpoint).entries if entry.score is not None]
    say(f"labels: {len(entries)} clips to learn from")
    if not entries:
        raise InputError("sft.targets: no clip of the training set has a label; there is nothing to learn from")
    return {e.id: Trace(e.id, polarity_of(e.score, config.labels.neutral_eps), "", e.score) for e in entries}


def answer_table(checkpoint: Checkpoint, train: Split, traces: dict[str, Trace], limit: int) -> np.ndarray:
    """Answers of the split's clips as ids [clips, C] int32, -1 after the end token."""
    format = train.prompter.format
    rows = [
        answer_ids(checkpoint, format.write(t.polarity, t.think, t.score))
        for t in (traces[entry.id] for entry in train.entries)
    ]
    longest = max(map(len, rows))
    if longest > limit:
        raise InputError(f"sampling.max_completion_length is {limit}, but a trace has {longest} tokens")
    table = np.full((len(rows), -(-longest // 8) * 8), -1, np.int32)
    for i, row in enumerate(rows):
        table[i, : len(row)] = row
    return table


def make_batch(
    train: Split, clips, answers: np.ndarray, budget, micro_batches: int, sharding: BatchSharding = SINGLE_PROCESS
) -> SftBatch:
    """Host arrays of one update: this process's rows of each micro-batch."""
    position = {entry.id: i for i, entry in enumerate(train.entries)}
    rows = answers[[position[clip.id] for clip in clips]].reshape(micro_batches, -1, answers.shape[1])
    size = len(clips) // micro_batches
    inputs = [
        train.prompter.inputs(clips[i * size : (i + 1) * size], budget, size, sharding) for i in range(micro_batches)
    ]
    return SftBatch(_stack(inputs), np.maximum(rows, 0), rows >= 0)


def start(config: Config, checkpoint: Checkpoint, trainable: str) -> tuple:
    """(trained part, frozen part) before the first update."""
    if trainable == "all":
        if config.adapter:
            raise InputError("sft.trainable=all trains the whole policy: it cannot start from config.adapter")
        return checkpoint.params, {}
    if config.adapter:
        return peft.load_adapter(config.adapter, checkpoint.config), checkpoint.params
    return init_adapter(checkpoint.config, config.lora, jax.random.key(config.seed)), checkpoint.params


def write_trained(directory: Path, checkpoint: Checkpoint, trained, extra: dict) -> None:
    """directory/policy or directory/adapter: whichever was trained. A stage that is not marked as done owns its
    outputs, so what a killed one left is replaced."""
    params, adapter = split_trained(trained, checkpoint.params)
    if processes.is_main():
        shutil.rmtree(directory / ("policy" if adapter is None else "adapter"), ignore_errors=True)
    if adapter is None:
        hf.save(directory / "policy", checkpoint.config, params, checkpoint.directory, extra)
    else:
        extra = extra | {
            "base": processes.broadcast(lambda: weights_fingerprint(checkpoint.directory), "hashes of the base")
        }
        base = checkpoint.directory.absolute()
        if base.is_relative_to(directory.parent):  # of this run: its files do not depend on where it lies
            base = os.path.relpath(base, directory / "adapter")
        peft.save_adapter(directory / "adapter", adapter, str(base), extra)


def _stack(inputs: list):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *inputs)
