"""The vision tower. Patches lie in rows of whole frames; attention stays inside a frame or inside a window of it.

Attention does not care for order, so patches keep their natural (merge-block) order and the windows are given by
segment ids: no permutation, and any mix of images and videos is the same program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from emsa_jax.policy.attention import attention
from emsa_jax.policy.clip import clip_states
from emsa_jax.policy.layers import linear, rms_norm, rotate, singles_of, stack_of
from emsa_jax.policy.lora import Adapter
from emsa_jax.policy.thinker_config import ClipConfig, VisionConfig

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int

EPS = 1e-6


def encode_vision(
    params: dict,
    adapter: Adapter | None,
    config: VisionConfig | ClipConfig,
    patches: Float[Array, "r l p"],
    patch_hw: Int[Array, "r l 2"] | None,
    frame: Int[Array, "r l"] | None,
    window: Int[Array, "r l"] | None,
) -> Float[Array, "tokens output"]:
    """Patches -> visual token embeddings, one for each 2 x 2 block.

    Args:
      params: the "vision" subtree.
      adapter: LoRA, or None.
      patches: [R, L, patch_dim] float, normalised pixels; each group of 4 slots is a merge block.
      patch_hw: [R, L, 2] int32, the patch's row and column in its frame.
      frame: [R, L] int32, segment of the blocks with full attention (a temporal patch); -1 for unused slots.
      window: [R, L] int32, segment of the other blocks. CLIP reads none of these three, which may be None for it.

    Returns:
      [R * L / 4, out_hidden_size]; of CLIP, which reads the patches alone, as `encode_clip` says.
    """
    states = vision_states(params, adapter, config, patches, patch_hw, frame, window)
    return project_vision(params, adapter, states)


def vision_states(
    params: dict,
    adapter: Adapter | None,
    config: VisionConfig | ClipConfig,
    patches: Float[Array, "r l p"],
    patch_hw: Int[Array, "r l 2"] | None,
    frame: Int[Array, "r l"] | None,
    window: Int[Array, "r l"] | None,
) -> Float[Array, "tokens merged d"]:
    """States [R * L / 4, 4, hidden_size] of the merge blocks after the last layer; of CLIP [tokens, 1, hidden_size].
    Arguments as in `encode_vision`."""
    if isinstance(config, ClipConfig):
        return clip_states(params, adapter, config, patches)[:, None]
    x = encode_rows(params, adapter, config, patches, patch_hw, frame, window)
    return x.reshape(-1, config.spatial_merge_size**2, config.hidden_size)


def encode_rows(
    params: dict,
    adapter: Adapter | None,
    config: VisionConfig,
    patches: Float[Array, "r l p"],
    patch_hw: Int[Array, "r l 2"],
    frame: Int[Array, "r l"],
    window: Int[Array, "r l"],
) -> Float[Array, "r l d"]:
    """States [R, L, hidden_size] of the patches after the last layer. Arguments as in `encode_vision`."""
    lora, scale = stack_of(adapter, "vision"), adapter.scale if adapter else 0.0
    dtype = params["patch_embed"].dtype
    x = jnp.einsum("rlp,ep->rle", patches.astype(dtype), params["patch_embed"].reshape(config.hidden_size, -1))
    cos, sin = _rope(config, patch_hw)
    masks = jnp.stack([_same_segment(window), _same_segment(frame)])
    full = jnp.zeros(config.depth, jnp.int32).at[jnp.asarray(config.fullatt_block_indexes, jnp.int32)].set(1)

    def layer(x: jax.Array, stacked: tuple) -> tuple[jax.Array, None]:
        p, ab, is_full = stacked
        h = rms_norm(x, p["norm1"], EPS)
        q, k, v = (linear(h, p[n], ab.get(n), scale).reshape(*h.shape[:2], config.num_heads, -1) for n in "qkv")
        q, k = (rotate(t.astype(jnp.float32), cos, sin).astype(dtype) for t in (q, k))
        x = x + linear(attention(q, k, v, masks[is_full]).reshape(h.shape), p["proj"], ab.get("proj"), scale)
        h = rms_norm(x, p["norm2"], EPS)
        gate = jax.nn.silu(linear(h, p["gate_proj"], ab.get("gate_proj"), scale))
        h = gate * linear(h, p["up_proj"], ab.get("up_proj"), scale)
        return x + linear(h, p["down_proj"], ab.get("down_proj"), scale), None

    return jax.lax.scan(layer, x, (params["layers"], lora, full))[0]


def vision_features(
    params: dict, adapter: Adapter | None, states: Float[Array, "tokens merged d"]
) -> Float[Array, "tokens features"]:
    """What the last linear of the projector reads of the states: [R * L / 4, 4 * hidden_size]; of CLIP the states."""
    if "merger_in" not in params:
        return states.reshape(len(states), -1)
    scale, lora = adapter.scale if adapter else 0.0, singles_of(adapter, "vision").get("merger_in")
    blocks = rms_norm(states, params["merger_norm"], EPS).reshape(len(states), -1)
    return jax.nn.gelu(linear(blocks, params["merger_in"], lora, scale), approximate=False)


def project_vision(
    params: dict, adapter: Adapter | None, states: Float[Array, "tokens merged d"]
) -> Float[Array, "tokens output"]:
    """Token embeddings [R * L / 4, out_hidden_size] of the states."""
    scale, last = adapter.scale if adapter else 0.0, "merger_out" if "merger_out" in params else "proj"
    lora = singles_of(adapter, "vision").get(last)
    return linear(vision_features(params, adapter, states), params[last], lora, scale)


def _same_segment(segment: jax.Array) -> jax.Array:
    """[R, L] -> [R, L, L] bool: may attend, i.e. both used and of one segment."""
    return (segment[:, :, None] == segment[:, None, :]) & (segment[:, None, :] >= 0)


def _rope(config: VisionConfig, patch_hw: jax.Array) -> tuple[jax.Array, jax.Array]:
    """cos, sin [R, L, 1, head_dim] float32; angles lie as (rows, columns, rows, columns)."""
    head_dim = config.hidden_size // config.num_heads
    inverse = 1.0 / config.rope_theta ** (np.arange(0, head_dim // 2, 2) / (head_dim // 2))
    angles = patch_hw[..., None].astype(jnp.float32) * jnp.asarray(inverse, jnp.float32)
    angles = angles.reshape(*patch_hw.shape[:2], head_dim // 2)
    angles = jnp.concatenate([angles, angles], axis=-1)[:, :, None, :]
    return jnp.cos(angles), jnp.sin(angles)
