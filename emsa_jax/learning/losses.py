"""The policy loss of GRPO and its relatives on [B, T] arrays, with exact means over any split into
micro-batches.

Per token: l = -min(c A, clip(c, 1 - epsilon, 1 + epsilon_high) A) + beta k3, where c is the ratio of the
policy to the one that sampled, A the advantage of the answer, and k3 = exp(d) - d - 1 with d = ref - logp.
The kinds differ in how l is summed up (m: mask, L_i: valid tokens of answer i, B: answers):

    grpo     mean_i( sum_t m l / L_i )       bnpo, dapo   sum m l / sum m
    seq_sum  mean_i( sum_t m l )             dr_grpo      sum m l / (B max_completion_length)

`bnpo` counts the tokens of one update, `dapo` those of the whole generation: they differ by the mask given
to `denominators`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from emsa_jax.learning.learning_options import LossOptions
from emsa_jax.learning.masked import masked_count, masked_sum

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Shaped

Sums = dict[str, jax.Array]


def denominators(
    mask: Shaped[Array, "b t"], options: LossOptions, max_completion_length: int, rows: Bool[Array, " b"] | None = None
) -> Sums:
    """What the sums of `loss_sums` are divided by, from the mask [B, T] of ALL answers of the update.

    rows: bool [B], answers that count (None: all). Answers without a valid token count, as they are answers
    too; padding rows do not. Returns integers under the names of `loss_sums`.
    """
    answers = jnp.asarray(mask.shape[0], jnp.int32) if rows is None else masked_count(rows)
    tokens = masked_count(mask)
    loss = {
        "grpo": answers,
        "seq_sum": answers,
        "bnpo": tokens,
        "dapo": tokens,
        "dr_grpo": answers * max_completion_length,
    }[options.kind]
    ratios = answers if options.importance == "sequence" else tokens
    names = ("clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean")
    return {"loss": loss, "kl": tokens, "entropy": tokens} | dict.fromkeys(names, ratios)


def entropy_threshold(
    entropies: Float[Array, "b t"], mask: Shaped[Array, "b t"], options: LossOptions
) -> Float[Array, ""]:
    """Lowest entropy that feels the policy gradient: the (1 - top_entropy_quantile) quantile of all valid
    tokens."""
    valid = jnp.where(mask.astype(bool), entropies, jnp.nan)
    return jnp.nanquantile(valid, 1 - options.top_entropy_quantile)


def kl_k3(logps: Float[Array, " *rows"], ref_logps: Float[Array, " *rows"]) -> Float[Array, " *rows"]:
    """Schulman's k3 estimate of KL(policy || reference) per token, >= 0; the gradient flows through
    `logps`."""
    difference = ref_logps - logps
    return jnp.expm1(difference) - difference


def loss_sums(
    logps: Float[Array, "b t"],
    old_logps: Float[Array, "b t"] | None,
    ref_logps: Float[Array, "b t"] | None,
    advantages: Float[Array, " b"],
    mask: Shaped[Array, "b t"],
    options: LossOptions,
    *,
    weights: Float[Array, " b"] | None = None,
    entropies: Float[Array, "b t"] | None = None,
    threshold: Float[Array, ""] | None = None,
    zero_std: Bool[Array, " b"] | None = None,
) -> tuple[Sums, Sums]:
    """Numerators of the loss and of the logged means, for some of the answers of an update.

    logps, old_logps, ref_logps: float [B, T] log-probabilities of the answers' tokens under the policy, the
    policy that sampled (None: this one, so the ratio is 1 with the gradient of logp) and the reference
    (None only if beta is 0).
    advantages: [B].
    mask: [B, T], non-zero where a token was sampled and counts.
    weights: [B] factor of each answer's loss.
    entropies, threshold: [B, T] and scalar of `entropy_threshold`, needed if top_entropy_quantile < 1.
    zero_std: bool [B], answers of groups without spread, needed if not kl_on_zero_std_groups.

    Returns (sums, rows): sums, scalars to add up over micro-batches and divide by `denominators`, of which
    "loss" is the one to differentiate; rows [B], the fraction of each answer's tokens clipped below and above.
    Raises: ValueError where an option needs an argument that is None.
    """
    valid = mask.astype(bool)
    logps = jnp.where(valid, logps, 0)  # what stands in masked slots must reach neither value nor gradient
    ratio = _importance_ratio(logps, old_logps, valid, options)
    bounded = ratio if options.delta is None else jnp.minimum(ratio, options.delta)
    low = 1 - options.epsilon
    high = 1 + (options.epsilon if options.epsilon_high is None else options.epsilon_high)
    adv = advantages[:, None]
    loss = -jnp.minimum(bounded * adv, jnp.clip(bounded, low, high) * adv)
    if options.top_entropy_quantile < 1:
        if entropies is None or threshold is None:
            raise ValueError("top_entropy_quantile < 1 needs entropies and their threshold")
        loss = jnp.where(entropies >= threshold, loss, 0)

    sums: Sums = {}
    if options.beta > 0:
        kl, sums["kl"] = _kl_term(logps, ref_logps, ratio, valid, zero_std, options)
        loss = loss + options.beta * kl

    per_answer = masked_sum(jnp.broadcast_to(loss, valid.shape), valid, 1)
    if options.kind == "grpo":
        per_answer = per_answer / masked_count(valid, 1)
    sums["loss"] = (per_answer if weights is None else per_answer * weights).sum()
    if entropies is not None:
        sums["entropy"] = masked_sum(entropies, valid)

    clips = {"low": (bounded < low) & (adv < 0), "high": (bounded > high) & (adv > 0)}
    clips["region"] = clips["low"] | clips["high"]
    clips = {name: clip.astype(logps.dtype) for name, clip in clips.items()}
    counted = valid.any(1, keepdims=True) if options.importance == "sequence" else valid
    sums |= {f"clip_ratio/{name}_mean": masked_sum(clip, counted) for name, clip in clips.items()}
    rows = {name: masked_sum(clips[name], counted, 1) / masked_count(counted, 1) for name in ("low", "high")}
    return sums, rows


def _importance_ratio(
    logps: jax.Array, old_logps: jax.Array | None, valid: jax.Array, options: LossOptions
) -> jax.Array:
    """How likely the policy makes the tokens compared with the one that sampled: [B, T], or [B, 1] for answers."""
    old = jax.lax.stop_gradient(logps) if old_logps is None else jnp.where(valid, old_logps, 0)
    log_ratio = logps - old
    if options.importance == "sequence":
        log_ratio = log_ratio.sum(1, keepdims=True) / masked_count(valid, 1)[:, None]
    return jnp.exp(log_ratio)


def _kl_term(
    logps: jax.Array,
    ref_logps: jax.Array | None,
    ratio: jax.Array,
    valid: jax.Array,
    zero_std: jax.Array | None,
    options: LossOptions,
) -> tuple[jax.Array, jax.Array]:
    """(KL per token as the loss has it [B, T], the logged sum over all valid tokens)."""
    if ref_logps is None:
        raise ValueError("beta > 0 needs the reference's log-probabilities")
    kl = kl_k3(logps, jnp.where(valid, ref_logps, 0))
    kl = kl * ratio if options.use_bias_correction_kl else kl
    total = masked_sum(kl, valid)
    if not options.kl_on_zero_std_groups:
        if zero_std is None:
            raise ValueError("kl_on_zero_std_groups: false needs zero_std")
        kl = jnp.where(zero_std[:, None], 0, kl)
    return kl, total


def metrics(sums: Sums, rows: Sums, denominators: Sums) -> Sums:
    """Logged values under the field's usual names, from the sums and rows of a whole update."""
    means = {name: total / denominators[name] for name, total in sums.items()}
    return means | {"clip_ratio/low_min": rows["low"].min(), "clip_ratio/high_max": rows["high"].max()}


def policy_loss(
    logps: jax.Array,
    old_logps: jax.Array | None,
    ref_logps: jax.Array | None,
    advantages: jax.Array,
    mask: jax.Array,
    options: LossOptions,
    max_completion_length: int,
    *,
    weights: jax.Array | None = None,
    entropies: jax.Array | None = None,
    zero_std: jax.Array | None = None,
    rows: jax.Array | None = None,
) -> tuple[jax.Array, Sums]:
    """The loss of a whole update at once, (scalar, metrics); arguments as in `loss_sums` and
    `denominators`."""
    threshold = None
    if options.top_entropy_quantile < 1 and entropies is not None:
        threshold = entropy_threshold(entropies, mask, options)
    sums, per_answer = loss_sums(
        logps,
        old_logps,
        ref_logps,
        advantages,
        mask,
        options,
        weights=weights,
        entropies=entropies,
        threshold=threshold,
        zero_std=zero_std,
    )
    logged = metrics(sums, per_answer, denominators(mask, options, max_completion_length, rows))
    return logged["loss"], logged


def polarity_nll(logps: jax.Array, mask: jax.Array, weight: float, prompts: int | jax.Array) -> jax.Array:
    """Supervision of the forced polarity, added to the policy loss: weight * sum(-log p(polarity)) / prompts.

    logps, mask: [N, K], log-probabilities of the hint's tokens and which of them count (none for prompts
    left out). prompts: prompts of the whole update, not only those with a hint, so that micro-batches add
    up and one hard prompt among many does not weigh as much as a batch of them.
    """
    return -weight * masked_sum(logps, mask) / prompts
