"""One GRPO update: prompts computed once per group, micro-batches of prompts, exact weighted means."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from emsa_jax.learning.guard import guarded_update
from emsa_jax.learning.learning_options import LossOptions
from emsa_jax.learning.logprobs import group_logprobs
from emsa_jax.learning.losses import Sums, denominators, loss_sums, metrics, polarity_nll
from emsa_jax.learning.packing import Packing
from emsa_jax.learning.state import TrainState
from emsa_jax.policy.inputs import PromptInputs
from emsa_jax.policy.lora import Adapter
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


class _MicroBatch(NamedTuple):
    """Some prompts of the update with their examples; stacked on a first axis until `jax.lax.scan` takes them apart."""

    members: jax.Array  # [n] int32, which prompts of the update these are
    prompts: Prompts
    batch: GrpoBatch
    mask: jax.Array  # [n, G, C] bool: `batch.mask` without the answers that do not count


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
      temperature: that of the sampler, by which logits are divided.
      nll_weight: weight of the true polarity's log-likelihood, see `losses.polarity_nll`; 0 leaves it out.
      micro_batches: parts of the update between which gradients are added up; their number must divide N.
      remat: what the backward pass computes again, see `decoder.forward`.
      shards: parts of the batch on the mesh; each micro-batch takes an equal number of prompts from every one.

    Returns:
      (state, metrics under TRL's names, with what `guarded_update` adds and the gap between the sampler's and the
      learner's log-probabilities).
    """
    if not nll_weight:
        batch = batch.replace(nll_tokens=None, nll_mask=None)
    n, g, c = batch.tokens.shape
    mask = batch.mask & batch.counted[..., None]
    divisors = denominators(mask.reshape(n * g, c), options, max_completion_length, batch.counted.reshape(-1))
    divisors = {name: jnp.maximum(value, 1) for name, value in divisors.items()}

    def loss_fn(adapter: Adapter, piece: _MicroBatch) -> tuple[jax.Array, tuple[Sums, Sums]]:
        if adapter.touches_towers:  # media are packed across prompts, so all are encoded in each micro-batch
            encoded = encode_prompts(base, adapter, config, inputs)
            piece = piece._replace(prompts=jax.tree.map(lambda t: t[piece.members], encoded))
        logps, entropies, nll_logps = _answer_logprobs(base, adapter, config, piece, temperature, remat)
        sums, per_answer = _loss_sums(piece, logps, entropies, options)
        loss = sums["loss"] / divisors["loss"]
        if nll_weight:
            sums["nll"] = polarity_nll(nll_logps, piece.batch.nll_mask, nll_weight, n)
            loss = loss + sums["nll"]
        return loss, (sums, per_answer | _sampler_gaps(piece.batch, logps))

    def add_micro_batch(carry: tuple, piece: _MicroBatch) -> tuple[tuple, Sums]:
        grads, sums = carry
        (_, (more, per_answer)), grad = jax.value_and_grad(loss_fn, has_aux=True)(state.params, piece)
        return jax.tree.map(jnp.add, (grads, sums), (grad, more)), per_answer

    pieces = _micro_batches(prompts, batch, mask, micro_batches, shards)
    shapes = jax.eval_shape(lambda: loss_fn(state.params, jax.tree.map(lambda t: t[0], pieces)))[1][0]
    zero = (jax.tree.map(jnp.zeros_like, state.params), jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes))
    (grads, sums), per_answer = jax.lax.scan(add_micro_batch, zero, pieces)
    per_answer = jax.tree.map(lambda t: _joined(t, micro_batches, shards), per_answer)
    logged = _update_metrics(sums, per_answer, divisors)
    logged["sampling/signed_gap"] = logged["sampling/signed_gap"].reshape(n, g)
    state, seen = guarded_update(state, grads, optimizer, logged["loss"])
    return state, logged | seen


def _update_metrics(sums: dict, per_answer: dict, divisors: dict) -> dict[str, jax.Array]:
    """What is logged of a whole update."""
    nll = sums.pop("nll", None)
    logged = metrics(sums, per_answer, divisors)
    if nll is not None:
        logged["hint/polarity_nll"] = nll
        logged["loss"] = logged["loss"] + nll
    logged["sampling/logp_difference_max"] = per_answer["gap"].max()
    return logged | {"sampling/signed_gap": per_answer["signed_gap"]}


def _answer_logprobs(
    base: dict, adapter: Adapter, config: ThinkerConfig, piece: _MicroBatch, temperature: float, remat: str
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """(log-probabilities [n, G, C], entropies [n, G, C], log-probabilities of the true polarity's tokens [n, K]).

    The true polarity is computed as one more answer of its prompt; None without one.
    """
    batch, tokens, packing = piece.batch, piece.batch.tokens, piece.batch.packing
    g, slots = tokens.shape[1:]
    if batch.nll_tokens is not None:
        packing = packing and packing.with_one_more()
        extra = jnp.pad(batch.nll_tokens, ((0, 0), (0, slots - batch.nll_tokens.shape[1])))
        tokens = jnp.concatenate([tokens, extra[:, None]], axis=1)
    logps, entropies = group_logprobs(base, adapter, config, piece.prompts, tokens, temperature, remat, packing=packing)
    nll_logps = None if batch.nll_tokens is None else logps[:, g, : batch.nll_tokens.shape[1]]
    return logps[:, :g], entropies[:, :g], nll_logps


def _loss_sums(piece: _MicroBatch, logps: jax.Array, entropies: jax.Array, options: LossOptions) -> tuple[Sums, Sums]:
    """`losses.loss_sums` of a micro-batch."""
    batch = piece.batch
    return loss_sums(
        _per_answer(logps),
        _per_answer(batch.old_logps),
        _per_answer(batch.ref_logps),
        _per_answer(batch.advantages),
        _per_answer(piece.mask),
        options,
        weights=_per_answer(batch.weights),
        entropies=_per_answer(entropies),
        threshold=batch.threshold,
        zero_std=_per_answer(batch.zero_std),
    )


def _sampler_gaps(batch: GrpoBatch, logps: jax.Array) -> dict[str, jax.Array]:
    """By how much the log-probabilities of sampler and learner differ, for each answer [n * G]: largest, signed sum."""
    gap = jnp.where(batch.mask, jnp.abs(logps - batch.sampler_logps), 0.0)
    signed = jnp.where(batch.mask, batch.sampler_logps - logps, 0.0)
    return {"gap": _per_answer(gap.max(-1)), "signed_gap": _per_answer(signed.sum(-1))}


def _per_answer(t: jax.Array | None) -> jax.Array | None:
    """[n, G, ...] -> [n * G, ...]."""
    return None if t is None else t.reshape(-1, *t.shape[2:])


def _micro_batches(prompts: Prompts, batch: GrpoBatch, mask: jax.Array, count: int, shards: int) -> _MicroBatch:
    """The update cut into `count` micro-batches, on the first axis of every array."""
    n = mask.shape[0]

    def cut(t: jax.Array) -> jax.Array:
        if shards == 1:
            return t.reshape(count, n // count, *t.shape[1:])
        parts = t.reshape(shards, count, -1, *t.shape[1:])
        return jnp.swapaxes(parts, 0, 1).reshape(count, -1, *t.shape[1:])

    pieces = jax.tree.map(cut, _MicroBatch(jnp.arange(n), prompts, batch.replace(threshold=None), mask))
    if batch.threshold is None:
        return pieces
    return pieces._replace(batch=pieces.batch.replace(threshold=jnp.broadcast_to(batch.threshold, (count,))))


def _joined(t: jax.Array, count: int, shards: int) -> jax.Array:
    """What is known of each answer, [count, answers of a micro-batch], in the order of the update: [N * G]."""
    if shards == 1:
        return t.reshape(-1, *t.shape[2:])
    parts = t.reshape(count, shards, -1, *t.shape[2:])
    return jnp.swapaxes(parts, 0, 1).reshape(-1, *t.shape[2:])
