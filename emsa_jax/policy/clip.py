"""CLIP (Radford et al. 2021): its vision transformer as a tower with a linear projector, and its text encoder.

Every frame is encoded for itself. What goes to the text model is the state of the class token, one token a frame, or
those of the patches; both are read after the last layer and before CLIP's own last norm (`post_layernorm`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp

from emsa_jax.policy.encoder_layers import LayerKind, encoder_layers, quick_gelu
from emsa_jax.policy.layers import layer_norm, linear, singles_of, stack_of
from emsa_jax.policy.lora import Adapter
from emsa_jax.policy.thinker_config import ClipConfig, ClipTextConfig

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int, Shaped


def encode_clip(
    params: dict, adapter: Adapter | None, config: ClipConfig, patches: Float[Array, "r l p"]
) -> Float[Array, "tokens output"]:
    """Patches -> visual token embeddings.

    Args:
      params: the "vision" subtree.
      adapter: LoRA, or None.
      patches: [R, L, patch_dim] float, normalised pixels, the patches of each frame row by row; L is a multiple of a
        frame's patches.

    Returns:
      [R * L / patches of a frame, out_hidden_size] of class tokens, or [R * L, out_hidden_size] of patches.
    """
    states = clip_states(params, adapter, config, patches)
    scale, lora = adapter.scale if adapter else 0.0, singles_of(adapter, "vision")
    return linear(states, params["proj"], lora.get("proj"), scale)


def clip_states(
    params: dict, adapter: Adapter | None, config: ClipConfig, patches: Float[Array, "r l p"]
) -> Float[Array, "tokens d"]:
    """States [tokens, hidden_size] of what goes to the text model, before the projector. Arguments as in
    `encode_clip`."""
    x = clip_vision(params, adapter, config, patches.reshape(-1, config.patches, config.patch_dim))
    return x[:, 0] if config.tokens == "cls" else x[:, 1:].reshape(-1, config.hidden_size)


def clip_vision(
    params: dict, adapter: Adapter | None, config: ClipConfig, frames: Float[Array, "f n p"]
) -> Float[Array, "f states d"]:
    """Frames [F, patches, patch_dim] -> states [F, 1 + patches, hidden_size] after the last layer, the class token
    first."""
    dtype = params["patch_embed"].dtype
    x = jnp.einsum("fnp,ep->fne", frames.astype(dtype), params["patch_embed"].reshape(config.hidden_size, -1))
    first = jnp.broadcast_to(params["class_embedding"], (len(x), 1, config.hidden_size))
    x = jnp.concatenate([first, x], axis=1) + params["position_embedding"]
    x = layer_norm(x, params["pre_norm"], config.layer_norm_eps)
    everyone = jnp.ones((1, x.shape[1], x.shape[1]), bool)
    return encoder_layers(
        params["layers"], _kind(config), x, everyone, stack_of(adapter, "vision"), adapter.scale if adapter else 0.0
    )


def encode_clip_text(
    params: dict, config: ClipTextConfig, ids: Int[Array, "b s"], mask: Shaped[Array, "b s"]
) -> Float[Array, "b projection"]:
    """Captions -> what CLIP compares with pictures.

    The state of the end token is taken: at the highest id where eos_token_id is 2, as in the first released files,
    whose end token has the highest id; else at the first eos_token_id.

    Args:
      params: of `clip_text_table`.
      ids: [B, S] int32; mask: [B, S] bool, valid tokens, which stand first.

    Returns:
      [B, projection_dim].
    """
    x = params["token_embedding"][ids] + params["position_embedding"][: ids.shape[1]]
    before = jnp.tril(jnp.ones((ids.shape[1], ids.shape[1]), bool))
    x = encoder_layers(params["layers"], _kind(config), x, before & (jnp.asarray(mask) > 0)[:, None, :])
    x = layer_norm(x, params["final_norm"], config.layer_norm_eps)
    end = ids if config.eos_token_id == 2 else ids == config.eos_token_id
    return x[jnp.arange(len(ids)), jnp.argmax(end, axis=1)] @ params["projection"].T


def _kind(config: ClipConfig | ClipTextConfig) -> LayerKind:
    return LayerKind(config.num_heads, config.layer_norm_eps, norm_first=True, activation=quick_gelu)
