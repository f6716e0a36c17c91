"""Hint-GRPO: sample groups, hint at the hard ones, reward, learn."""
from __future__ import annotations

import dataclasses
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from emsa_jax.answers.labels import POLARITIES, polarity_of
from emsa_jax.config import digest
from emsa_jax.data.pipeline import batches
from emsa_jax.data.plan import boundary_at
from emsa_jax.evaluation.predict import abstract_inputs, judge, texts_of
from emsa_jax.jobs.artifacts import cold_started, records_dir
from emsa_jax.jobs.console import progress
from emsa_jax.jobs.datasets import Split, open_split
from emsa_jax.jobs.grpo_log import Rollout, step_metrics, write_samples
from emsa_jax.jobs.options import Config
from emsa_jax.jobs.programs import Programs, tabulate
from emsa_jax.jobs.resume import resume
from emsa_jax.jobs.run import Run
from emsa_jax.jobs.sft import write_trained
from emsa_jax.learning.advantages import advantages
from emsa_jax.learning.checkpoints import Checkpoints
from emsa_jax.learning.grpo import GrpoBatch, grpo_update
from emsa_jax.learning.logprobs import group_logprobs
from emsa_jax.learning.losses import entropy_threshold
from emsa_jax.learning.optimizer import build_optimizer, learning_rate_schedule
from emsa_jax.learning.state import create_state
from emsa_jax.policy import peft
from emsa_jax.policy.checkpoint import Checkpoint, fingerprint, open_checkpoint
from emsa_jax.policy.lora import init_adapter
from emsa_jax.policy.thinker import encode_prompts
from emsa_jax.rewards.plugins import load_plugins
from emsa_jax.rewards.trigger import TriggerOptions, hard_groups, threshold, trigger_metric
from emsa_jax.rollout.hints import bucket_sizes, choose_hinted, loss_mask, pad_to_bucket, splice
from emsa_jax.rollout.prompts import hint_ids
from emsa_jax.rollout.sampler import HINT, PREFIX, ROLLOUT, prefill, sample


def grpo(run: Run, config: Config) -> None:
    """Trains an adapter over the frozen base, with the cold start as the reference; writes grpo/adapter."""
    options = config.grpo
    base_dir, adapter_dir = cold_started(run, config)
    checkpoint = open_checkpoint(base_dir, config.dtype)
    base = checkpoint.params
    reference = peft.load_adapter(adapter_dir, checkpoint.config) if adapter_dir else None
    fresh = init_adapter(checkpoint.config, config.lora, jax.random.key(config.seed))
    adapter = fresh if reference is None else jax.tree.map(jnp.copy, reference)

    train = open_split(config, records_dir(run, config, "train"), checkpoint, "train")
    plan = train.plan(options.prompts_per_step, config.seed, drop_remainder=True)
    total = options.max_steps or int(options.epochs * plan.batches_per_epoch)
    optimizer = build_optimizer(options.optimizer, total * options.num_iterations)
    state = create_state(adapter, optimizer)
    hints = Hints.of(config, checkpoint, train)
    budgets = train.budgets(options.prompts_per_step)
    programs = compile_step(config, checkpoint, train, budgets, base, reference, state, optimizer, hints)

    checkpoints = Checkpoints(run.path("grpo", "checkpoints"))
    identity = {"plan": plan.hash, "data": train.manifest.digest, "policy": fingerprint(base_dir),
                "reference": fingerprint_adapter(adapter_dir)}
    state, meta, first = resume(checkpoints, state, identity, {})
    log = run.metrics("grpo")
    log.truncate_after(first)
    updates = total * options.num_iterations
    rates = tabulate(learning_rate_schedule(options.optimizer, updates), updates)
    judging = functools.partial(judge, train.prompter.format, options=config.reward,
                                plugins=load_plugins(config.reward.plugins), neutral_eps=config.labels.neutral_eps)
    stream = batches(train, plan, first, total)
    with progress(total, "grpo", first) as advance:
        for step, clips in stream:
            begun = time.monotonic()
            bucket = boundary_at(plan, step)
            inputs = train.prompter.inputs(clips, budgets[bucket], len(clips))
            prompts = programs[f"encode/{bucket}"](base, state.params, inputs)
            cache = programs[f"prefill/{bucket}"](base, state.params, prompts)
            rollout = sample_groups(config, step, base, state.params, cache, programs, bucket, hints, train, clips, judging)
            batch = learn_from(config, rollout, hints, clips)
            batch = with_logprobs(config, programs, bucket, base, reference, state.params, inputs, prompts, batch)
            for iteration in range(options.num_iterations):
                state, logged = programs[f"update/{bucket}"](state, base, prompts, inputs, batch)
            now = step + 1
            values = step_metrics(rollout, batch, jax.device_get(logged), config)
            log.write(now, values | {
                "learning_rate": float(rates[now * options.num_iterations - 1]),
                "epoch": now / plan.batches_per_epoch, "step_time": time.monotonic() - begun})
            write_samples(run.path("grpo", "completions"), now, rollout, clips, options.samples)
            advance(note=f"reward {values['reward']:.2f}  hard {values['hint/trigger_rate']:.0%}  kl {values.get('kl', 0):.3f}")
            if now % options.save_every == 0 or now == total:
                checkpoints.save(now, state, meta | identity)
    stream.close()
    write_trained(run.path("grpo"), checkpoint, state.params, {"stage": "grpo"})


@dataclasses.dataclass(frozen=True)
class Hints:
    """What is forced and when. ids [3, K] and lengths [3] int32 by polarity; slots: C, answer slots; limits: tokens
    after which a plain and a hinted answer of each polarity are cut off."""

    ids: np.ndarray
    lengths: np.ndarray
    slots: int
    plain_limit: int
    buckets: tuple[int, ...]
    trigger: TriggerOptions
    threshold: float
    neutral_eps: float

    @classmethod
    def of(cls, config: Config, checkpoint: Checkpoint, train: Split) -> Hints:
        options, budget = config.hint, config.sampling.max_completion_length
        used = options.mode == "hint" or options.polarity_nll > 0
        format = train.prompter.format
        known = hint_ids(checkpoint, format, options.template, POLARITIES) if used or format.name == "dc" else {}
        width = max(map(len, known.values()), default=1)
        ids = np.full((len(POLARITIES), width), checkpoint.config.pad_token_id, np.int32)
        for i, polarity in enumerate(POLARITIES):
            ids[i, : len(known.get(polarity, ()))] = known.get(polarity, ())
        lengths = np.array([len(known.get(p, ())) for p in POLARITIES], np.int32)
        trigger = TriggerOptions(options.metric, options.threshold, options.trigger_fraction, options.truncated_as_fail)
        return cls(ids, lengths, budget + (0 if options.count_in_budget else width), budget,
                   bucket_sizes(options, config.grpo.prompts_per_step), trigger, threshold(trigger, config.reward),
                   config.labels.neutral_eps)

    def forced_like(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Arrays of the shapes that `forced` gives."""
        return np.zeros((rows, self.ids.shape[1]), np.int32), np.zeros(rows, np.int32)

    def forced(self, clips) -> tuple[np.ndarray, np.ndarray]:
        """(ids [N, K], lengths [N]) of the clips' true polarities; length 0 without a true score."""
        rows = [POLARITIES.index(polarity_of(clip.score, self.neutral_eps)) if clip.score is not None else -1
                for clip in clips]
        lengths = np.where(np.array(rows) >= 0, self.lengths[rows], 0)
        return self.ids[rows], lengths.astype(np.int32)


def compile_step(config: Config, checkpoint: Checkpoint, train: Split, budgets, base, reference, state, optimizer,
                 hints: Hints) -> Programs:
    """Every program of a step, for every prompt bucket and hint bucket, compiled before the first one."""
    programs, model, options = Programs(), checkpoint.config, config.grpo
    n, g, c = options.prompts_per_step, options.group_size, hints.slots
    temperature = config.sampling.temperature
    hot = dataclasses.replace(config.sampling, temperature=config.hint.temperature or temperature)

    def draw(base, adapter, cache, noise, ids, limit):
        none = jnp.zeros((ids.shape[0], 1), jnp.int32)
        return sample(base, adapter, model, config.sampling, c, g, cache, noise, ids, none,
                      jnp.zeros_like(ids), limit)

    def redraw(base, adapter, cache, noise, rows, forced, lengths, limit):
        return sample(base, adapter, model, hot, c, config.hint.num_hinted(g), cache.take(rows), noise, rows, forced,
                      lengths, limit, temperature)

    def prefix(base, adapter, cache, noise, forced, lengths):
        width = forced.shape[1]
        ids = jnp.arange(n, dtype=jnp.int32)
        return sample(base, adapter, model, config.sampling, width, 1, cache, noise, ids, forced, lengths,
                      jnp.maximum(lengths, 1)).logps[:, 0]

    def logprobs(base, adapter, inputs, prompts, tokens):
        if adapter is not None and adapter.touches_towers:
            prompts = encode_prompts(base, adapter, model, inputs)
        return group_logprobs(base, adapter, model, prompts, tokens, temperature)

    update = functools.partial(grpo_update, config=model, options=config.loss, optimizer=optimizer,
                               temperature=temperature, max_completion_length=config.sampling.max_completion_length,
                               nll_weight=config.hint.polarity_nll, micro_batches=options.micro_batches,
                               remat=options.remat)
    noise, ids, scalar = np.zeros(3, np.int32), np.zeros(n, np.int32), np.zeros(n, np.int32)
    adapter = state.params
    for bucket, budget in budgets.items():
        inputs = abstract_inputs(train.prompter, budget, n)
        encode = functools.partial(encode_prompts, config=model)
        prompts = programs.add(f"encode/{bucket}", lambda b, a, i, f=encode: f(b, a, inputs=i), base, adapter, inputs)
        cache = programs.add(f"prefill/{bucket}", lambda b, a, p: prefill(b, a, model, p), base, adapter, prompts)
        drawn = programs.add(f"sample/{bucket}", draw, base, adapter, cache, noise, ids, scalar)
        programs.add(f"prefix/{bucket}", prefix, base, adapter, cache, noise, *hints.forced_like(n))
        if config.hint.mode == "hint":
            for size in hints.buckets:
                forced, lengths = hints.forced_like(size)
                programs.add(f"hint {size}/{bucket}", redraw, base, adapter, cache, noise, lengths, forced, lengths, lengths)
        needs_ref, needs_old = config.loss.beta > 0, options.num_iterations > 1 or config.loss.top_entropy_quantile < 1
        if needs_ref:
            programs.add(f"reference/{bucket}", logprobs, base, reference, inputs, prompts, drawn.tokens)
        if needs_old:
            programs.add(f"old/{bucket}", logprobs, base, adapter, inputs, prompts, drawn.tokens)
        batch = abstract_batch(config, drawn, hints)
        programs.add(f"update/{bucket}", update, state, base, prompts, inputs, batch, donate=(0,))
    programs.report()
    return programs


def sample_groups(config: Config, step: int, base, adapter, cache, programs: Programs, bucket: int, hints: Hints,
                  train: Split, clips, judging) -> Rollout:
    """G answers to each prompt; where all of them fail, new ones after the true polarity from the same cache."""
    n, options = len(clips), config.hint
    ids = np.arange(n, dtype=np.int32)
    noise = functools.partial(np.array, dtype=np.int32)
    limit = np.full(n, hints.plain_limit, np.int32)
    first = programs[f"sample/{bucket}"](base, adapter, cache, noise([config.seed, step, ROLLOUT]), ids, limit)
    forced, lengths = hints.forced(clips)
    prefix = programs[f"prefix/{bucket}"](base, adapter, cache, noise([config.seed, step, PREFIX]), forced, lengths)
    first = jax.device_get(first)
    texts = texts_of(train.prompter.checkpoint, first, n)
    table = judging(clips, texts)
    hard = hard_groups(trigger_metric(table, ~first.ended, hints.trigger), hints.threshold, hints.trigger.trigger_fraction)
    rows = choose_hinted(hard & (lengths > 0), options, config.seed, step)
    rollout = Rollout(first, texts, table, first, texts, table, hard, np.zeros(n, bool), np.zeros(n, bool),
                      np.asarray(prefix).sum(-1), 0.0)
    if not len(rows):
        return rollout

    begun = time.monotonic()
    padded = pad_to_bucket(rows, hints.buckets)
    limits = lengths[padded] * (not options.count_in_budget) + hints.plain_limit
    again = programs[f"hint {len(padded)}/{bucket}"](
        base, adapter, cache, noise([config.seed, step, HINT]), padded, forced[padded], lengths[padded],
        limits.astype(np.int32))
    final = splice(first, jax.device_get(again), rows, options)
    final_texts = list(texts)
    changed = texts_of(train.prompter.checkpoint, jax.tree.map(lambda t: t[rows], final), len(rows))
    for row, group in zip(rows, changed, strict=True):
        final_texts[row] = group
    uncounted = None if options.count_polarity_reward else final.forced > 0
    final_table = judging(clips, final_texts, uncounted_polarity=uncounted)
    shown = final_table if uncounted is None else judging(clips, final_texts)
    metric = trigger_metric(shown, ~final.ended, hints.trigger)
    failed = np.zeros(n, bool)
    failed[rows] = hard_groups(metric, hints.threshold, 1.0)[rows]
    hinted = np.zeros(n, bool)
    hinted[rows] = True
    return dataclasses.replace(rollout, final=final, final_texts=final_texts, final_table=final_table, hinted=hinted,
                               failed=failed, extra_time=time.monotonic() - begun).restored(options.on_fail)


def learn_from(config: Config, rollout: Rollout, hints: Hints, clips) -> GrpoBatch:
    """Advantages, masks and weights of a rollout; log-probabilities are filled in later."""
    options, final = config.hint, rollout.final
    n, g, _ = final.tokens.shape
    hinted = final.forced > 0
    unscaled = rollout.hinted if options.adv_scale == "none" else None
    adv = advantages(rollout.final_table.total, config.adv, unscaled)
    dropped = np.zeros(n, bool)
    if options.mode == "drop_hard":
        dropped |= rollout.hard
    if options.on_fail == "drop":
        dropped |= rollout.failed
    nll_tokens = nll_mask = None
    if options.polarity_nll:
        nll_tokens, lengths = hints.forced(clips)
        asked = rollout.hard if options.polarity_nll_scope == "hard" else np.ones(n, bool)
        nll_mask = (np.arange(nll_tokens.shape[1]) < lengths[:, None]) & asked[:, None]
    per_answer = functools.partial(np.broadcast_to, shape=(n, g))
    return GrpoBatch(
        final.tokens, loss_mask(final, options), final.logps, None, None, adv.values.astype(np.float32),
        np.where(hinted, options.loss_weight, 1.0).astype(np.float32), np.array(per_answer(~dropped[:, None])),
        np.array(per_answer(adv.zero_std[:, None])), nll_tokens, nll_mask, None)


def with_logprobs(config: Config, programs: Programs, bucket: int, base, reference, adapter, inputs, prompts,
                  batch: GrpoBatch) -> GrpoBatch:
    """The batch with the log-probabilities of the reference, and of the sampling policy where they are needed."""
    if config.loss.beta > 0:
        logps, _ = programs[f"reference/{bucket}"](base, reference, inputs, prompts, batch.tokens)
        batch = batch.replace(ref_logps=logps)
    if config.grpo.num_iterations > 1 or config.loss.top_entropy_quantile < 1:
        logps, entropies = programs[f"old/{bucket}"](base, adapter, inputs, prompts, batch.tokens)
        if config.grpo.num_iterations > 1:
            batch = batch.replace(old_logps=logps)
        if config.loss.top_entropy_quantile < 1:
            batch = batch.replace(threshold=entropy_threshold(entropies, batch.mask, config.loss))
    return batch


def abstract_batch(config: Config, drawn, hints: Hints) -> GrpoBatch:
    """The shapes of `with_logprobs(learn_from(...))`."""
    n, g, c = drawn.tokens.shape
    logps, per_answer = np.zeros((n, g, c), np.float32), np.zeros((n, g), np.float32)
    nll = hints.forced_like(n)[0] if config.hint.polarity_nll else None
    return GrpoBatch(
        np.zeros((n, g, c), np.int32), np.zeros((n, g, c), bool), logps,
        logps if config.grpo.num_iterations > 1 else None, logps if config.loss.beta > 0 else None, per_answer, per_answer,
        np.zeros((n, g), bool), np.zeros((n, g), bool), nll, None if nll is None else nll > 0,
        np.float32(0) if config.loss.top_entropy_quantile < 1 else None)


def fingerprint_adapter(directory) -> str:
    """Stands for the reference's adapter; "" for none."""
    from emsa_jax import manifest

    if directory is None:
        return ""
    return digest([manifest.sha256_file(path) for path in sorted(directory.glob("adapter_*"))])
