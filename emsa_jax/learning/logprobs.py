"""Log-probabilities of given tokens, without ever holding the logits of a whole sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from emsa_jax.learning.packing import Packing
from emsa_jax.policy import decoder
from emsa_jax.policy.lora import Adapter, with_whole
from emsa_jax.policy.thinker import Prompts
from emsa_jax.policy.thinker_config import ThinkerConfig

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int


def token_logprobs(
    hidden: Float[Array, "*rows t d"],
    head: Float[Array, "v d"],
    targets: Int[Array, "*rows t"],
    temperature: float | jax.Array = 1.0,
    chunk: int = 128,
) -> tuple[Float[Array, "*rows t"], Float[Array, "*rows t"]]:
    """log softmax(hidden head^T / temperature) at the targets, and the entropy of that distribution in nats.

    hidden: [..., T, D] final states, from each of which the token at its place in `targets` is predicted.
    head: [V, D]. targets: int [..., T]. Returns (logps, entropies), both float32 [..., T]. The work goes `chunk`
    positions at a time and each chunk is computed again in the backward pass, so at most [..., chunk, V] logits
    exist. The entropies carry no gradient.
    """
    length = targets.shape[-1]
    chunk = min(chunk, length)
    pieces = -(-length // chunk)
    spare = pieces * chunk - length

    def split(array: jax.Array, axis: int) -> jax.Array:
        """Pads the sequence axis and cuts it: [..., T, ...] -> [pieces, ..., chunk, ...]."""
        pad = [(0, 0)] * array.ndim
        pad[axis] = (0, spare)
        shape = array.shape[:axis] + (pieces, chunk) + array.shape[axis + 1 :]
        return jnp.moveaxis(jnp.pad(array, pad).reshape(shape), axis, 0)

    @jax.checkpoint
    def one(piece: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return _logprobs(*piece, head, temperature)

    axis = targets.ndim - 1
    _, (logps, entropies) = jax.lax.scan(
        lambda carry, piece: (carry, one(piece)), None, (split(hidden, axis), split(targets, axis))
    )

    def join(array: jax.Array) -> jax.Array:
        array = jnp.moveaxis(array, 0, axis)
        return array.reshape(array.shape[:axis] + (pieces * chunk,))[..., :length]

    return join(logps), join(entropies)


def _logprobs(
    hidden: jax.Array, targets: jax.Array, head: jax.Array, temperature: float | jax.Array
) -> tuple[jax.Array, jax.Array]:
    dtype = jnp.promote_types(jnp.float32, jnp.promote_types(hidden.dtype, head.dtype))
    logits = jnp.einsum("...td,vd->...tv", hidden, head, preferred_element_type=dtype) / temperature
    log_partition = jax.nn.logsumexp(logits, axis=-1)
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    fixed = jax.lax.stop_gradient(logits)
    mean_logit = (jax.nn.softmax(fixed) * fixed).sum(-1)
    return chosen - log_partition, jax.lax.stop_gradient(log_partition) - mean_logit


def group_logprobs(
    params: dict,
    adapter: Adapter | None,
    config: ThinkerConfig,
    prompts: Prompts,
    tokens: Int[Array, "n g c"],
    temperature: float | jax.Array = 1.0,
    remat: str = "none",
    chunk: int = 128,
    packing: Packing | None = None,
) -> tuple[Float[Array, "n g c"], Float[Array, "n g c"]]:
    """Log-probabilities and entropies, float32 [N, G, C] both, of G answers to each of N prompts.

    tokens: int32 [N, G, C]. Every prompt is run once, whatever G is, and gradients flow back through it.
    temperature: logits are divided by it. remat: see `decoder.forward`. chunk: see `token_logprobs`.
    packing: how several answers lie in one row; values after an answer's end then have no meaning.
    """
    text = with_whole(params, adapter)["text"]
    positions = jnp.moveaxis(prompts.positions, 1, 0)
    rows = tokens if packing is None else packing.pack(tokens)
    slot = jnp.broadcast_to(jnp.arange(tokens.shape[-1]), rows.shape) if packing is None else packing.slot
    answer_positions = jnp.moveaxis(prompts.next_position, 1, 0)[:, :, None, None] + slot
    prompt, answer = decoder.forward_groups(
        text,
        adapter,
        config.text,
        prompts.x,
        positions,
        prompts.mask,
        answer=text["embed_tokens"][rows],
        answer_positions=answer_positions,
        remat=remat,
        segments=None if packing is None else packing.segment,
    )
    first = decoder.last_valid(prompt, prompts.mask)[:, None, None]
    before = jnp.pad(answer[:, :, :-1], ((0, 0), (0, 0), (1, 0), (0, 0)))
    hidden = jnp.where(slot[..., None] == 0, first, before)
    logps, entropies = token_logprobs(hidden, decoder.head(text), rows, temperature, chunk)
    return (logps, entropies) if packing is None else (packing.unpack(logps), packing.unpack(entropies))
