"""The whole policy: media and text -> embeddings -> hidden states -> logits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from emsa_jax.policy.audio import audio_features, audio_states, project_audio
from emsa_jax.policy.bridges import bridged_media
from emsa_jax.policy.decoder import forward, head
from emsa_jax.policy.inputs import PromptInputs, TowerStates
from emsa_jax.policy.layers import take_in_shards
from emsa_jax.policy.lora import Adapter, with_whole
from emsa_jax.policy.thinker_config import ClipConfig, ThinkerConfig
from emsa_jax.policy.vision import project_vision, vision_features, vision_states

MERGER = ("merger_norm", "merger_in", "merger_out")


def projector(config: ThinkerConfig, tower: str) -> tuple[str, ...]:
    """The parts of a tower's projector, the last of which is linear and makes the embeddings."""
    return ("proj",) if tower == "audio" or isinstance(config.vision, ClipConfig) else MERGER


def comes_after_states(path: tuple[str, ...]) -> bool:
    """Whether a parameter of a tower is used after its states, or not at all."""
    behind = {"audio": ("ln_post", "proj", "bos_eos"), "vision": ("proj", *MERGER)}
    return path[1] in (*behind[path[0]], "bridge")


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
    states = inputs.states if inputs.states is not None else tower_states(params, adapter, config, inputs)
    if config.bridged:
        return bridged_media(params, adapter, config, x, inputs, projector_features(params, adapter, states))
    media = []
    if states.audio is not None:
        media.append(project_audio(params["audio"], adapter, states.audio))
    if states.vision is not None:
        media.append(project_vision(params["vision"], adapter, states.vision))
    if not media:
        return x
    index = inputs.media_index
    table = jnp.concatenate([t.reshape(inputs.shards, -1, t.shape[-1]) for t in media], axis=1).astype(x.dtype)
    found = take_in_shards(table, jnp.maximum(index, 0).reshape(inputs.shards, -1)).reshape(x.shape)
    return jnp.where((index >= 0)[..., None], found, x)


def tower_states(params: dict, adapter: Adapter | None, config: ThinkerConfig, inputs: PromptInputs) -> TowerStates:
    """The media of a batch through the layers of their towers, before the projectors."""
    audio = vision = None
    if inputs.mel.shape[0]:
        media = (inputs.mel, inputs.mel_length, inputs.audio_pairs)
        audio = audio_states(params["audio"], adapter, config.audio, *media, inputs.shards)
    if inputs.patches.shape[0]:
        media = (inputs.patches, inputs.patch_hw, inputs.frame, inputs.window)
        vision = vision_states(params["vision"], adapter, config.vision, *media)
    return TowerStates(audio, vision)


def trained_towers(adapter: Adapter) -> frozenset[str]:
    """The towers whose states depend on what is trained: in which more than the projector is."""
    whole = jax.tree_util.tree_leaves_with_path({t: adapter.whole[t] for t in adapter.whole.keys() - {"text"}})
    paths = [tuple(key.key for key in path) for path, _ in whole]
    layers = {t for t, found in adapter.weights.items() for ab in found.values() if ab["a"].ndim == 3}
    return frozenset({path[0] for path in paths if not comes_after_states(path)} | layers - {"text"})


def keeps_states(adapter: Adapter) -> bool:
    """Whether the states of the towers are those of the base, whatever is trained behind them."""
    return not trained_towers(adapter)


def projector_features(params: dict, adapter: Adapter | None, states: TowerStates) -> dict[str, jax.Array]:
    """Tower -> what the last linear of its projector reads, [tokens, width]; only towers that have states."""
    found = {}
    if states.audio is not None:
        found["audio"] = audio_features(params["audio"], adapter, states.audio)
    if states.vision is not None:
        found["vision"] = vision_features(params["vision"], adapter, states.vision)
    return found


def logits(params: dict, adapter: Adapter | None, config: ThinkerConfig, inputs: PromptInputs) -> jax.Array:
    """Next-token logits [B, S, V], float32. For tests and small models: nothing here is chunked."""
    params = with_whole(params, adapter)
    x = encode(params, adapter, config, inputs)
    hidden, _ = forward(params["text"], adapter, config.text, x, inputs.positions, inputs.mask)
    return jnp.einsum("bsd,vd->bsv", hidden, head(params["text"])).astype(jnp.float32)
