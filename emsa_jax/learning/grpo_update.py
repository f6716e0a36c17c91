"""One GRPO update: prompts computed once per group, micro-batches of prompts, exact weighted means."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import struct

from emsa_jax.learning.learning_options import LossOptions
from emsa_jax.learning.logprobs import group_logprobs
from emsa_jax.learning.losses import denominators, loss_sums, metrics, polarity_nll
from emsa_jax.learning.packing import Packing
from emsa_jax.learning.state import TrainState, apply_gradients
from emsa_jax.policy.inputs import PromptInputs
from emsa_jax.policy.thinker import Prompts, encode_prompts
from emsa_jax.policy.thinker_config import ThinkerConfig


@partial(struct.dataclass, kw_only=True)
class GrpoBatch:
    """The examples of one update: N prompts, G answers, C slots.

    Attributes:
      tokens: [N, G, C] int32.
      mask: [N, G, C] bool, the tokens that count in loss, KL and length.
      sampler_logps: [N, G, C] float32, as the sampler reported them.
      old_logps: [N, G, C] float32 of the policy that sampled, or None where that is the policy which learns.
      ref_logps: [N, G, C] float32 of the reference, or None where beta is 0.
      advantages, weights: [N, G] float32.
      counted: [N, G] bool, the answers that count in the means.
      zero_std: [N, G] bool, the answers of groups without spread.
      nll_tokens, nll_mask: [N, K] int32 and bool, the tokens of the true polarity and whether they are supervised;
        None without such supervision.
      threshold: float32 scalar of `losses.entropy_threshold`, or None.
      packing: how the answers are arranged in rows, or None where each has a row.
    """

    tokens: jax.Array
    mask: jax.Array
    sampler_logps: jax.Array
    old_logps: jax.Array | None = None
    ref_logps: jax.Array | None = None
    advantages: jax.Array
    weights: jax.Array
    counted: jax.Array
    zero_std: jax.Array
    nll_tokens: jax.Array | None = None
    nll_mask: jax.Array | None = None
    threshold: jax.Array | None = None
    packing: Packing | None = None


def grpo_update(
    state: TrainState,
    base: dict,
    prompts: Prompts,
    inputs: PromptInputs,
    batch: GrpoBatch,
    *,
    config: ThinkerConfig,
    options: LossOptions,
    optimizer: optax.GradientTransformation,
    temperature: float,
    max_completion_length: int,
    nll_weight: float = 0.0,
    micro_batches: int = 1,
    remat: str = "none",
    shards: int = 1,
) -> tuple[TrainState, dict]:
    """One update of the adapter in `state`.

    Args:
      base: the frozen parameters.
      prompts: encoded once for rollout, reference and update.
      inputs: encoded again, within the gradient, only if the adapter reaches into the towers.
      shards: parts of the batch on the mesh; each micro-batch takes its share of every one.

    Returns:
      (state, metrics under TRL's names, with the gap between the sampler's and the learner's log-probabilities).
    """
    n, g, c = batch.tokens.shape
    mask = batch.mask & batch.counted[..., None]
    divisors = denominators(mask.reshape(n * g, c), options, max_completion_length, batch.counted.reshape(-1))
    divisors = {name: jnp.maximum(value, 1) for name, value in divisors.items()}

    def loss_fn(adapter, members, prompts, batch, mask):
        if adapter.touches_towers:  # media are packed across prompts, so all are encoded in each micro-batch
            prompts = jax.tree.map(lambda t: t[members], encode_prompts(base, adapter, config, inputs))
        rows, tokens, slots, packing = mask.shape[0], batch.tokens, mask.shape[2], batch.packing
        if nll_weight:  # the true polarity rides along as one more answer of its prompt
            packing = packing and packing.with_one_more()
            extra = jnp.pad(batch.nll_tokens, ((0, 0), (0, slots - batch.nll_tokens.shape[1])))
            tokens = jnp.concatenate([tokens, extra[:, None]], axis=1)
        logps, entropies = group_logprobs(base, adapter, config, prompts, tokens, temperature, remat, packing=packing)
        told, logps, entropies = logps[:, g:], logps[:, :g], entropies[:, :g]

        def flat(t):
            return None if t is None else t.reshape(rows * g, *t.shape[2:])

        sums, shares = loss_sums(
            flat(logps),
            flat(batch.old_logps),
            flat(batch.ref_logps),
            flat(batch.advantages),
            flat(mask),
            options,
            weights=flat(batch.weights),
            entropies=flat(entropies),
            threshold=batch.threshold,
            zero_std=flat(batch.zero_std),
        )
        loss = sums["loss"] / divisors["loss"]
        if nll_weight:
            nll = polarity_nll(told[:, 0, : batch.nll_tokens.shape[1]], batch.nll_mask, nll_weight, n)
            sums["nll"] = nll
            loss = loss + nll
        gap = jnp.where(batch.mask, jnp.abs(logps - batch.sampler_logps), 0.0)
        signed = jnp.where(batch.mask, batch.sampler_logps - logps, 0.0)
        shares |= {"gap": flat(gap.max(-1)), "signed_gap": flat(signed.sum(-1))}
        return loss, (sums, shares)

    def micro(carry, piece):
        grads, sums = carry
        (_, (more, shares)), grad = jax.value_and_grad(loss_fn, has_aux=True)(state.params, *piece)
        return jax.tree.map(jnp.add, (grads, sums), (grad, more)), shares

    def cut(t):
        if shards == 1:
            return t.reshape(micro_batches, n // micro_batches, *t.shape[1:])
        parts = t.reshape(shards, micro_batches, -1, *t.shape[1:])
        return jnp.swapaxes(parts, 0, 1).reshape(micro_batches, -1, *t.shape[1:])

    def join(t):  # [micro_batches, rows of answers], the answers of a prompt being neighbours
        if shards == 1:
            return t.reshape(-1, *t.shape[2:])
        parts = t.reshape(micro_batches, shards, -1, *t.shape[2:])
        return jnp.swapaxes(parts, 0, 1).reshape(-1, *t.shape[2:])

    threshold = batch.threshold
    members, prompts, batch, mask = jax.tree.map(cut, (jnp.arange(n), prompts, batch.replace(threshold=None), mask))
    if threshold is not None:
        batch = batch.replace(threshold=jnp.broadcast_to(threshold, (micro_batches,)))
    pieces = (members, prompts, batch, mask)
    shapes = jax.eval_shape(lambda: loss_fn(state.params, *jax.tree.map(lambda t: t[0], pieces)))[1][0]
    zero = (jax.tree.map(jnp.zeros_like, state.params), jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes))
    (grads, sums), shares = jax.lax.scan(micro, zero, pieces)
    shares = jax.tree.map(join, shares)
    nll = sums.pop("nll", None)
    logged = metrics(sums, shares, divisors)
    if nll is not None:
        logged["hint/polarity_nll"] = nll
        logged["loss"] = logged["loss"] + nll
    logged |= {
        "grad_norm": optax.global_norm(grads),
        "sampling/logp_difference_max": shares["gap"].max(),
        "sampling/signed_gap": shares["signed_gap"].reshape(n, g),
    }
    return apply_gradients(state, grads, optimizer), logged
