"""The programs of a GRPO step, compiled for every prompt bucket and every hint bucket."""

from __future__ import annotations

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np

from emsa_jax.learning.grpo_update import GrpoBatch, grpo_update
from emsa_jax.learning.logprobs import group_logprobs
from emsa_jax.learning.packing import Packing
from emsa_jax.policy.decoder import Cache
from emsa_jax.policy.thinker import encode_prompts
from emsa_jax.policy.thinker_config import ThinkerConfig
from emsa_jax.rollout.hint_tokens import Hints
from emsa_jax.rollout.sampler import PromptState, prefill, sample
from emsa_jax.runtime.console import say
from emsa_jax.runtime.placement import Placement
from emsa_jax.runtime.programs import Programs
from emsa_jax.settings.config import Config


@dataclasses.dataclass(frozen=True)
class Base:
    """The frozen parameters as the update reads them, and as decoding does: the same arrays where nothing is gathered
    along fsdp."""

    update: dict
    decode: dict


def compile_step(
    config: Config,
    model: ThinkerConfig,
    budgets,
    base: Base,
    reference,
    state,
    optimizer,
    hints: Hints,
    placement: Placement,
    programs: Programs | None = None,
) -> Programs:
    """Every program of a step, for every prompt bucket and hint bucket, compiled before the first one.

    Parameters and state may be ShapeDtypeStructs. programs: those that are added to, laid out for decoding.
    """
    programs, options = programs or Programs(placement.decode), config.grpo
    shards, rows, whole = placement.sharding.num_shards, placement.decode.batch(), placement.decode.whole
    n, g, c = options.prompts_per_step, options.group_size, hints.slots
    temperature = config.sampling.temperature
    # the prompts at hand were encoded by the policy: where media depend on an adapter, each encodes its own
    towers = any(adapter is not None and adapter.touches_towers for adapter in (state.params, reference))
    hot = dataclasses.replace(config.sampling, temperature=config.hint.temperature or temperature)

    def draw(base, adapter, cache, noise, ids, limit):
        return sample(
            base,
            adapter,
            model,
            cache,
            options=config.sampling,
            group_size=g,
            slots=c,
            noise=noise,
            prompt_ids=ids,
            limit=limit,
        )

    def redraw(base, adapter, cache, noise, rows, forced, lengths, limit):
        ids = rows
        if shards > 1:  # rows count from the first of their shard
            rows = rows.reshape(shards, -1)
            ids = (rows + n // shards * jnp.arange(shards, dtype=jnp.int32)[:, None]).reshape(-1)
        return sample(
            base,
            adapter,
            model,
            cache.take(rows),
            options=hot,
            group_size=config.hint.num_hinted(g),
            slots=c,
            noise=noise,
            prompt_ids=ids,
            forced=forced,
            forced_length=lengths,
            limit=limit,
            logp_temperature=temperature,
        )

    def prefix(base, adapter, cache, noise, forced, lengths):
        return sample(
            base,
            adapter,
            model,
            cache,
            options=config.sampling,
            group_size=1,
            slots=forced.shape[1],
            noise=noise,
            prompt_ids=jnp.arange(n, dtype=jnp.int32),
            forced=forced,
            forced_length=lengths,
            limit=jnp.maximum(lengths, 1),
        ).logps[:, 0]

    def logprobs(base, adapter, inputs, prompts, tokens, packing):
        if towers:
            prompts = encode_prompts(base, adapter, model, inputs)
        return group_logprobs(base, adapter, model, prompts, tokens, temperature, packing=packing)

    update = functools.partial(
        grpo_update,
        config=model,
        options=config.loss,
        optimizer=optimizer,
        temperature=temperature,
        max_completion_length=config.sampling.max_completion_length,
        nll_weight=config.hint.polarity_nll,
        micro_batches=options.micro_batches,
        shards=shards,
    )
    remats = ("none", "dots", "full") if options.remat == "auto" else (options.remat,)
    noise, ids = np.zeros(3, np.int32), placement.rows(np.zeros(n, np.int32))
    trained, adapter = state.params, state.params
    if placement.has_two_layouts:
        adapter = programs.add("layout", lambda a: a, trained, out=placement.decode.adapter(trained))
    kept = PromptState(Cache(*[placement.decode.cache()] * 2), rows, rows, placement.decode.batch(1))
    updated = (placement.update.state(state), whole)
    for bucket, budget in budgets.items():
        inputs = placement.inputs(budget, n)
        encode = functools.partial(encode_prompts, config=model)
        prompts = programs.add(
            f"encode/{bucket}", lambda b, a, i, f=encode: f(b, a, inputs=i), base.decode, adapter, inputs, out=rows
        )
        cache = programs.add(
            f"prefill/{bucket}", lambda b, a, p: prefill(b, a, model, p), base.decode, adapter, prompts, out=kept
        )
        drawn = programs.add(f"sample/{bucket}", draw, base.decode, adapter, cache, noise, ids, ids, out=rows)
        programs.add(
            f"prefix/{bucket}",
            prefix,
            base.decode,
            adapter,
            cache,
            noise,
            *placement.rows(hints.forced_like(n)),
            out=rows,
        )
        if config.hint.mode == "hint":
            for size in hints.buckets:
                forced, lengths = placement.rows(hints.forced_like(size * shards))
                programs.add(
                    f"hint {size}/{bucket}",
                    redraw,
                    base.decode,
                    adapter,
                    cache,
                    noise,
                    lengths,
                    forced,
                    lengths,
                    lengths,
                    out=rows,
                )
        needs_ref, needs_old = config.loss.beta > 0, options.num_iterations > 1 or config.loss.top_entropy_quantile < 1
        for size in options.row_sizes:
            batch = placement.rows(abstract_batch(config, drawn, hints, size))
            name, learning = f"{bucket}/{size} rows", {"layout": placement.update}
            scored = (inputs, prompts, batch.tokens, batch.packing)
            if needs_ref:
                programs.add(f"reference/{name}", logprobs, base.update, reference, *scored, out=rows, **learning)
            if needs_old:
                programs.add(f"old/{name}", logprobs, base.update, trained, *scored, out=rows, **learning)
            updates = {remat: functools.partial(update, remat=remat) for remat in remats}
            remat = programs.add_fitting(
                f"update/{name}",
                updates,
                state,
                base.update,
                prompts,
                inputs,
                batch,
                donate=(0,),
                out=updated,
                **learning,
            )
            if options.remat == "auto":
                say(f"update/{name}: remat {remat}")
    programs.report()
    return programs


def abstract_batch(config: Config, drawn, hints: Hints, rows: int) -> GrpoBatch:
    """The shapes of `with_logprobs(learn_from(...))` where answers are packed into so many rows."""
    n, g, c = drawn.tokens.shape
    logps, per_answer = np.zeros((n, g, c), np.float32), np.zeros((n, g), np.float32)
    nll = hints.forced_like(n)[0] if config.hint.polarity_nll else None
    packing = Packing(np.zeros((n, rows, c), np.int32), np.zeros((n, g, c), np.int32))
    return GrpoBatch(
        tokens=np.zeros((n, g, c), np.int32),
        mask=np.zeros((n, g, c), bool),
        sampler_logps=logps,
        old_logps=logps if config.grpo.num_iterations > 1 else None,
        ref_logps=logps if config.loss.beta > 0 else None,
        advantages=per_answer,
        weights=per_answer,
        counted=np.zeros((n, g), bool),
        zero_std=np.zeros((n, g), bool),
        nll_tokens=nll,
        nll_mask=None if nll is None else nll > 0,
        threshold=np.float32(0) if config.loss.top_entropy_quantile < 1 else None,
        packing=packing if config.grpo.answer_rows else None,
    )
