"""The whole policy: media and text -> embeddings -> hidden states -> logits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from emsa_jax.policy.audio import encode_audio
from emsa_jax.policy.decoder import forward, head
from emsa_jax.policy.inputs import PromptInputs
from emsa_jax.policy.layers import take_in_shards
from emsa_jax.policy.lora import Adapter, with_whole
from emsa_jax.policy.thinker_config import ThinkerConfig
from emsa_jax.policy.vision import encode_vision


@struct.dataclass
class Prompts:
    """Encoded prompts, the batch axis first everywhere: what rollout, reference and update share.

    Attributes:
      x: [N, P, D] embeddings.
      mask: [N, P] bool.
      positions: [N, 3, P] int32.
      next_position: [N, 3] int32, of the first answer token.
    """

    x: jax.Array
    mask: jax.Array
    positions: jax.Array
    next_position: jax.Array


def encode_prompts(params: dict, adapter: Adapter | None, config: ThinkerConfig, inputs: PromptInputs) -> Prompts:
    """Media and text of a batch, encoded once."""
    return Prompts(
        encode(params, adapter, config, inputs),
        jnp.asarray(inputs.mask),
        jnp.moveaxis(inputs.positions, 0, 1),
        jnp.moveaxis(inputs.next_position, 0, 1),
    )


def encode(params: dict, adapter: Adapter | None, config: ThinkerConfig, inputs: PromptInputs) -> jax.Array:
    """Prompt embeddings [B, S, D]: text embeddings, with the media's in place of their placeholders."""
    params = with_whole(params, adapter)
    x = params["text"]["embed_tokens"][inputs.tokens]
    media = []
    if inputs.mel.shape[0]:
        media.append(
            encode_audio(
                params["audio"], adapter, config.audio, inputs.mel, inputs.mel_length, inputs.audio_pairs, inputs.shards
            )
        )
    if inputs.patches.shape[0]:
        media.append(
            encode_vision(
                params["vision"], adapter, config.vision, inputs.patches, inputs.patch_hw, inputs.frame, inputs.window
            )
        )
    if not media:
        return x
    index = inputs.media_index
    table = jnp.concatenate([t.reshape(inputs.shards, -1, t.shape[-1]) for t in media], axis=1).astype(x.dtype)
    found = take_in_shards(table, jnp.maximum(index, 0).reshape(inputs.shards, -1)).reshape(x.shape)
    return jnp.where((index >= 0)[..., None], found, x)


def logits(params: dict, adapter: Adapter | None, config: ThinkerConfig, inputs: PromptInputs) -> jax.Array:
    """Next-token logits [B, S, V], float32. For tests and small models: nothing here is chunked."""
    params = with_whole(params, adapter)
    x = encode(params, adapter, config, inputs)
    hidden, _ = forward(params["text"], adapter, config.text, x, inputs.positions, inputs.mask)
    return jnp.einsum("bsd,vd->bsv", hidden, head(params["text"])).astype(jnp.float32)
