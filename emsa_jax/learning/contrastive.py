"""The losses with which bridges learn (XEmoGPT, stages 1 and 2): pairs of clips and captions, order of frames, and
frames that were masked."""

import jax
import jax.numpy as jnp
import optax

from emsa_jax.learning.masked import masked_sum


def info_nce(a: jax.Array, b: jax.Array, temperature: jax.Array) -> jax.Array:
    """InfoNCE (van den Oord et al. 2018): how well each of `a` finds its own among all of `b`.

    Args:
      a: [B, D], and b: [B, D], of the same pairs; of any length.
      temperature: what the cosines are divided by.

    Returns:
      The mean over pairs of -log softmax at the own place, a number.
    """
    return -jnp.diag(jax.nn.log_softmax(cosines(a, b) / temperature, axis=1)).mean()


def cosines(a: jax.Array, b: jax.Array) -> jax.Array:
    """[A, B], of all of a [A, D] with all of b [B, D]."""
    return _length_one(a) @ _length_one(b).T


def _length_one(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def order_loss(ordered: jax.Array, shuffled: jax.Array) -> jax.Array:
    """Binary cross-entropy of logits [B] of clips in their order (1) and of the same ones shuffled (0), a mean."""
    logits = jnp.concatenate([ordered, shuffled])
    labels = jnp.concatenate([jnp.ones_like(ordered), jnp.zeros_like(shuffled)])
    return optax.sigmoid_binary_cross_entropy(logits, labels).mean()


def masked_frame_loss(found: jax.Array, frames: jax.Array, masked: jax.Array) -> jax.Array:
    """Squared distance of reconstructed frames [B, T, D] to the true ones, summed over the masked frames ([B, T] bool)
    of a clip: a mean over clips."""
    return masked_sum(((found - frames) ** 2).sum(-1), masked) / len(frames)


def retrieval(scores: jax.Array, at: tuple[int, ...] = (1, 5)) -> list[jax.Array]:
    """Share of rows of scores [B, B] whose own place is among the k highest, for each k of `at`; of equal scores the
    own one comes last."""
    own = jnp.diag(scores)[:, None]
    better = (scores >= own).sum(1) - 1
    return [(better < k).mean() for k in at]
