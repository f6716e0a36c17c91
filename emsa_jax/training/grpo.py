"""Hint-GRPO: sample groups, hint at the hard ones, reward, learn."""

from __future__ import annotations

import contextlib
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from emsa_jax.config.edge import pick
from emsa_jax.data.batch_order import boundary_at
from emsa_jax.data.pipeline import batches
from emsa_jax.errors import InputError
from emsa_jax.learning.advantages import Advantages, advantages
from emsa_jax.learning.checkpoints import Checkpoints
from emsa_jax.learning.grpo_update import GrpoBatch
from emsa_jax.learning.optimizer import build_optimizer, learning_rate_schedule
from emsa_jax.learning.packing import pack_rows
from emsa_jax.learning.state import create_state
from emsa_jax.parallel import preemption, processes
from emsa_jax.parallel.batch_sharding import SINGLE_PROCESS, BatchSharding
from emsa_jax.planning.memory_advice import announce, fit_grpo, grpo_advice
from emsa_jax.policy import peft
from emsa_jax.policy.checkpoint import adapter_fingerprint, fingerprint, load_weights, open_checkpoint
from emsa_jax.policy.flops import group_flops
from emsa_jax.policy.layout import place
from emsa_jax.policy.lora import init_adapter
from emsa_jax.report.run_report import LivePage
from emsa_jax.rewards.score_answers import AnswerScorer
from emsa_jax.rollout.answering import texts_of
from emsa_jax.rollout.hint_tokens import Hints
from emsa_jax.rollout.hints import choose_hinted, compact, loss_mask, splice
from emsa_jax.rollout.prompted_data import Split, shown
from emsa_jax.rollout.sampler import HINT, PREFIX, ROLLOUT, Completions
from emsa_jax.rollout.training_set import open_train
from emsa_jax.runtime.clock import Clock
from emsa_jax.runtime.console import progress
from emsa_jax.runtime.hardware import peak_flops
from emsa_jax.runtime.placement import Placement
from emsa_jax.runtime.prefetch import ahead
from emsa_jax.runtime.profiler import profiled
from emsa_jax.runtime.programs import tabulate
from emsa_jax.runtime.resume import resume
from emsa_jax.runtime.run import Run
from emsa_jax.settings.config import Config
from emsa_jax.training.artifacts import cold_started, records_dir
from emsa_jax.training.memory_work import grpo_work
from emsa_jax.training.sft import write_trained
from emsa_jax.training.speed import speed
from emsa_jax.training.step import Base, GrpoStep, StepOptions, compile_grpo
from emsa_jax.training.step_metrics import Rollout, sample_lines, step_metrics

WRITTEN_PROMPTS = 2  # of each step: their answers are written out


def grpo(run: Run, config: Config) -> None:
    """Trains an adapter over the frozen base, with the cold start as the reference; writes grpo/adapter."""
    base_dir, adapter_dir = cold_started(run, config)
    checkpoint = open_checkpoint(base_dir, weights=False, attention=config.attention)
    placement = Placement.of(checkpoint.config, mesh=config.mesh, dtype=config.dtype, trained=config.lora)
    sharding = placement.sharding
    sharding.check(config.grpo.prompts_per_step, "grpo.prompts_per_step", config.grpo.micro_batches)
    each = config.grpo.prompts_per_step // sharding.num_shards
    train = open_train(config, records_dir(run, config, "train"), checkpoint)
    train = train.balanced(config.labels.neutral_eps) if config.balance else train
    hints = Hints.of(config, checkpoint, train, sharding.num_shards)
    budgets = train.input_shapes(each)

    work = grpo_work(
        config.grpo,
        dtype=config.dtype,
        lora=config.lora,
        answer_slots=hints.slots,
        reference=adapter_dir is not None,
    )
    work, memory = fit_grpo(work, checkpoint.config, placement, budgets[max(budgets)])
    announce(memory, grpo_advice(memory, work, placement))
    config = dataclasses.replace(config, grpo=dataclasses.replace(config.grpo, micro_batches=work.micro_batches))
    options = config.grpo

    adapter = init_adapter(checkpoint.config, config.lora, jax.random.key(config.seed))
    reference = peft.load_adapter(adapter_dir, checkpoint.config) if adapter_dir else None
    if reference is not None:
        reference = place(reference, placement.update.adapter(reference))
        adapter = jax.tree.map(jnp.copy, reference)
    checkpoint = load_weights(checkpoint, config.dtype, placement.update)
    base = Base(checkpoint.params, placement.for_decoding(checkpoint.params))

    plan = train.plan(options.prompts_per_step, config.seed, drop_remainder=True)
    total = options.max_steps or int(options.epochs * plan.batches_per_epoch)
    if not total:
        raise InputError(f"grpo.epochs: {options.epochs:g} of {plan.batches_per_epoch} batches is no update; raise it")
    optimizer = build_optimizer(options.optimizer, total * options.num_iterations)
    state = placement.state(create_state(adapter, optimizer))
    steps = compile_grpo(
        pick(StepOptions, config),
        checkpoint.config,
        budgets,
        base=base,
        reference=reference,
        state=state,
        optimizer=optimizer,
        hints=hints,
        placement=placement,
    )

    checkpoints = Checkpoints(run.path("grpo", "checkpoints"))
    identity = processes.broadcast(
        lambda: {
            "plan": plan.hash,
            "data": train.manifest.digest,
            "policy": fingerprint(base_dir),
            "reference": adapter_fingerprint(adapter_dir),
        },
        "what grpo starts from",
    )
    state, meta, first = resume(checkpoints, state, identity, {})
    log = run.metrics("grpo")
    log.truncate_after(first)
    updates = total * options.num_iterations
    rates = tabulate(learning_rate_schedule(options.optimizer, updates), updates)
    score_answers = AnswerScorer.of(train.prompter.format, config.reward, train.entries, config.hint.levels)
    peak, clock, page = peak_flops(), Clock(), LivePage(run, config)

    def prepared(item):
        step, clips = item
        bucket = boundary_at(plan, step)
        return step, clips, bucket, train.prompter.inputs(clips, budgets[bucket], len(clips), sharding)

    def save(step: int) -> None:
        checkpoints.save(step, state, meta | identity)

    def stop_if_told(step: int, saved: bool) -> None:
        if preemption.is_agreed(processes.process_count()):
            if not saved:
                save(step)
            preemption.exit_saved(step, "grpo", processes.is_main())

    reading = {"process": sharding.group, "processes": sharding.groups}
    stream = ahead(batches(train, plan, first, total, view=shown(config), **reading), prepared)
    with (
        progress(total, "grpo", first) as advance,
        contextlib.closing(stream),
        jax.transfer_guard("disallow"),
        profiled(run, config, first) as trace,
        preemption.deferred(),
    ):
        while (item := clock.run("wait", next, stream, None)) is not None:
            step, clips, bucket, inputs = item
            trace(step)
            programs = steps[bucket]
            adapter = programs.relayout(state.params) if programs.relayout else state.params
            prompts = clock.run("encode", programs.encode, adapter, inputs)
            cache = clock.run("prefill", programs.prefill, adapter, prompts)
            rollout = sample_groups(
                config,
                step,
                adapter,
                cache,
                programs,
                hints,
                train,
                clips,
                score_answers,
                clock,
                sharding,
            )
            del cache  # the update has its room
            stop_if_told(step, saved=step == first or step % options.save_every == 0)
            batch = learn_from(config, rollout, hints, clips, sharding)
            batch = with_logprobs(config, programs, state.params, inputs, prompts, batch, clock, sharding)
            on_policy = {}  # how far sampler and learner are apart shows in the first update alone
            for _ in range(options.num_iterations):
                update = programs.update[packed_in(batch)]
                state, logged = clock.run("update", update, state, prompts, inputs, batch)
                on_policy = on_policy or {name: logged[name] for name in logged if name.startswith("sampling/")}
            now = step + 1
            flops = group_flops(checkpoint.config, state.params, inputs, rollout.first.length)
            counted = rollout.counted(
                batch, inputs, flops, sample_lines(now, rollout, clips, WRITTEN_PROMPTS, sharding), sharding
            )
            values = step_metrics(counted, jax.device_get(logged | on_policy), config)
            values |= speed(config, counted, packed_in(batch), clock, peak)
            log.write(
                now,
                values
                | {
                    "learning_rate": float(rates[now * options.num_iterations - 1]),
                    "epoch": now / plan.batches_per_epoch,
                },
            )
            run.write(f"grpo/completions/completions_{now:05d}.jsonl", counted.lines.tobytes())
            advance(
                note=f"reward {values['reward']:.2f}  hard {values['hint/trigger_rate']:.0%}  "
                f"kl {values.get('kl', 0):.3f}"
            )
            due = now % options.save_every == 0 or now == total
            if due:
                save(now)
            stop_if_told(now, saved=due)
            page.refresh()
            clock.restart()
    write_trained(run.path("grpo"), checkpoint, state.params, {"stage": "grpo"})


def sample_groups(
    config: Config,
    step: int,
    adapter,
    cache,
    programs: GrpoStep,
    hints: Hints,
    train: Split,
    clips,
    score_answers: AnswerScorer,
    clock: Clock,
    sharding: BatchSharding,
) -> Rollout:
    """G answers to each prompt; where all of them fail, new ones after the true polarity from the same cache."""
    n, options = len(clips), config.hint
    own = sharding.local_rows(config.grpo.prompts_per_step)
    ids = np.array(own, np.int32)
    noise = functools.partial(np.array, dtype=np.int32)
    limit = np.full(n, hints.plain_limit, np.int32)
    first = sharding.fetch(
        clock.run(
            "decode",
            programs.sample,
            adapter,
            cache,
            noise([config.seed, step, ROLLOUT]),
            ids,
            limit,
        )
    )
    forced, lengths = hints.forced(clips)
    prefix = programs.prefix(adapter, cache, noise([config.seed, step, PREFIX]), forced, lengths)
    with clock.phase("reward"):  # while the device computes the prefixes
        texts = texts_of(train.prompter.checkpoint, first, n)
        table = score_answers(clips, texts, first.ended)
    prefix = sharding.fetch(clock.run("hint", jax.block_until_ready, prefix))
    hard = hints.trigger.hard(table, first.ended)
    chosen = choose_hinted(sharding.all_gather(hard & (lengths > 0), "hard groups"), options)
    rollout = Rollout(
        first,
        texts,
        table,
        first,
        texts,
        table,
        hard,
        np.zeros(n, bool),
        np.zeros(n, bool),
        hints.label_logp(clips, prefix),
    )
    if not len(chosen):  # on no process
        return rollout

    mine = slice(sharding.group * sharding.local_shards, (sharding.group + 1) * sharding.local_shards)
    packed = compact(chosen, config.grpo.prompts_per_step, sharding.num_shards, hints.buckets)
    size, first_of = packed.shape[1], np.arange(sharding.local_shards)[:, None] * (n // sharding.local_shards)
    padded = (packed[mine] + first_of).reshape(-1)
    limits = np.full(len(padded), hints.plain_limit)
    again = clock.run(
        "hint",
        programs.hint[size],
        adapter,
        cache,
        noise([config.seed, step, HINT]),
        packed[mine].reshape(-1),
        forced[padded],
        lengths[padded],
        limits.astype(np.int32),
    )
    rows = chosen[(chosen >= own.start) & (chosen < own.stop)] - own.start
    shard = rows // (n // sharding.local_shards)
    source = shard * size + np.arange(len(rows)) - np.searchsorted(shard, shard)
    with clock.phase("reward"):
        return hinted(config, sharding.fetch(again), rows, source, rollout, hints, train, clips, score_answers)


def hinted(
    config: Config,
    again: Completions,
    rows: np.ndarray,
    source: np.ndarray,
    rollout: Rollout,
    hints: Hints,
    train: Split,
    clips,
    score_answers: AnswerScorer,
) -> Rollout:
    """The rollout with new answers, the rows `source` of `again`, to the prompts `rows` in place, judged."""
    n, options, first, texts = len(clips), config.hint, rollout.first, rollout.first_texts
    final = splice(first, again, rows, source)
    final_texts = list(texts)
    changed = texts_of(train.prompter.checkpoint, jax.tree.map(lambda t: t[rows], final), len(rows))
    for row, group in zip(rows, changed, strict=True):
        final_texts[row] = group
    unpaid = None if options.count_polarity_reward else final.forced > 0
    final_table = score_answers(clips, final_texts, final.ended, unpaid)
    all_paid = final_table if unpaid is None else score_answers(clips, final_texts, final.ended)
    failed = np.zeros(n, bool)
    failed[rows] = hints.trigger.hard(all_paid, final.ended, fraction=1.0)[rows]
    asked_again = np.zeros(n, bool)
    asked_again[rows] = True
    return dataclasses.replace(
        rollout, final=final, final_texts=final_texts, final_table=final_table, hinted=asked_again, failed=failed
    )


def learn_from(
    config: Config, rollout: Rollout, hints: Hints, clips, sharding: BatchSharding = SINGLE_PROCESS
) -> GrpoBatch:
    """Advantages, masks and weights of a rollout; log-probabilities are filled in later."""
    options, final = config.hint, rollout.final
    n, g, _ = final.tokens.shape
    judged = {"rewards": rollout.final_table.total}
    if config.adv.scale == "batch":  # which is that of all processes
        own = sharding.local_rows(n * sharding.groups)
        whole = advantages(**sharding.all_gather(judged, "rewards"), options=config.adv)
        adv = Advantages(*(part[own.start : own.stop] for part in whole))
    else:
        adv = advantages(**judged, options=config.adv)
    dropped = np.zeros(n, bool)
    if options.mode == "drop_hard":
        dropped |= rollout.hard
    counted = ~dropped[:, None] & (final.ended | (not config.loss.mask_truncated_completions))
    nll_tokens = nll_mask = None
    if options.polarity_nll:
        nll_tokens, lengths = hints.forced(clips)
        asked = rollout.hard if options.polarity_nll_scope == "hard" else np.ones(n, bool)
        nll_mask = (np.arange(nll_tokens.shape[1]) < lengths[:, None]) & asked[:, None]
    packing = None
    if config.grpo.answer_rows:  # in as many rows on every process
        own = sharding.local_rows(n * sharding.groups)
        packing = pack_rows(sharding.all_gather(final.length, "lengths"), final.tokens.shape[2], config.grpo.row_sizes)
        packing = jax.tree.map(lambda t: t[own.start : own.stop], packing)
    per_answer = functools.partial(np.broadcast_to, shape=(n, g))
    return GrpoBatch(
        tokens=final.tokens,
        mask=loss_mask(final, options),
        sampler_logps=final.logps,
        advantages=adv.values.astype(np.float32),
        weights=np.ones((n, g), np.float32),
        counted=counted,
        zero_std=np.array(per_answer(adv.zero_std[:, None])),
        nll_tokens=nll_tokens,
        nll_mask=nll_mask,
        packing=packing,
    )


def packed_in(batch: GrpoBatch) -> int:
    """Rows that the answers of each prompt take."""
    return batch.tokens.shape[1] if batch.packing is None else batch.packing.source.shape[1]


def with_logprobs(
    config: Config,
    programs: GrpoStep,
    adapter,
    inputs,
    prompts,
    batch: GrpoBatch,
    clock: Clock,
    sharding: BatchSharding,
) -> GrpoBatch:
    """The batch with the log-probabilities of the reference, and of the sampling policy where they are needed."""
    rows, scored = packed_in(batch), (inputs, prompts, batch.tokens, batch.packing)
    if config.loss.beta > 0:
        logps, _ = clock.run("reference", programs.reference[rows], *scored)
        batch = batch.replace(ref_logps=logps)
    if config.grpo.num_iterations > 1 or config.loss.top_entropy_quantile < 1:
        logps, entropies = clock.run("old", programs.old[rows], adapter, *scored)
        if config.grpo.num_iterations > 1:
            batch = batch.replace(old_logps=logps)
        if config.loss.top_entropy_quantile < 1:
            valid = batch.mask & batch.counted[..., None]
            values = sharding.all_gather(sharding.fetch(entropies)[valid], "entropies")
            values = values if len(values) else np.zeros(1)
            quantile = np.quantile(values, 1 - config.loss.top_entropy_quantile)  # on the host: nothing compiles here
            batch = batch.replace(threshold=np.float32(quantile))
    return batch
