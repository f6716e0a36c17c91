"""LoRA: h = W x + (alpha / r) B A x, with W frozen (Hu et al. 2021). Adapters are trees of their own."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from emsa_jax.errors import InputError
from emsa_jax.policy.parameter_table import param_table
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.policy.thinker_config import ThinkerConfig


@struct.dataclass
class Adapter:
    """A LoRA adapter.

    Attributes:
      weights: {tower: {linear: {"a": [L, r, in], "b": [L, out, r]}}}, float32; towers "text", "audio", "vision".
      scale: alpha / r (alpha / sqrt(r) for rank-stabilised LoRA), static.
    """

    weights: dict
    scale: float = struct.field(pytree_node=False, default=1.0)

    @property
    def touches_towers(self) -> bool:
        """Whether media encodings depend on the adapter (then they cannot be shared with the reference)."""
        return any(tower != "text" for tower in self.weights)


def init_adapter(config: ThinkerConfig, options: LoraOptions, key: jax.Array) -> Adapter:
    """A fresh adapter: A uniform as PEFT draws it (Kaiming, a = sqrt(5)), B zero, so that it changes nothing yet.

    Drawn on the host: a device would compile a program for every shape.
    Raises: InputError naming a target that the policy does not have.
    """
    seed = np.asarray(jax.random.key_data(key)).tolist()
    weights: dict = {}
    for i, (tower, name, (layers, out, width)) in enumerate(_targets(config, options)):
        rng, bound = np.random.default_rng([*seed, i]), np.float32(width**-0.5)
        a = (2 * rng.random((layers, options.rank, width), np.float32) - 1) * bound
        b = np.zeros((layers, out, options.rank), np.float32)
        weights.setdefault(tower, {})[name] = {"a": jnp.asarray(a), "b": jnp.asarray(b)}
    return Adapter(weights, options.alpha / options.rank)


def abstract_adapter(config: ThinkerConfig, options: LoraOptions) -> Adapter:
    """The adapter that `init_adapter` draws, as ShapeDtypeStructs; raises as it does."""
    weights: dict = {}
    for tower, name, (layers, out, width) in _targets(config, options):
        weights.setdefault(tower, {})[name] = {
            "a": jax.ShapeDtypeStruct((layers, options.rank, width), jnp.float32),
            "b": jax.ShapeDtypeStruct((layers, out, options.rank), jnp.float32),
        }
    return Adapter(weights, options.alpha / options.rank)


def _targets(config: ThinkerConfig, options: LoraOptions) -> Iterator[tuple[str, str, tuple[int, int, int]]]:
    shapes = linear_shapes(config)
    for target in options.targets:
        tower, _, name = target.rpartition(".")
        tower = tower or "text"
        if (tower, name) not in shapes:
            raise InputError(
                f"lora.targets: {target!r} is no linear of the policy; known: "
                + ", ".join(n if t == "text" else f"{t}.{n}" for t, n in shapes)
            )
        yield tower, name, shapes[tower, name]


def linear_shapes(config: ThinkerConfig) -> dict[tuple[str, str], tuple[int, int, int]]:
    """(tower, linear) -> (layers, out, in) for every linear that can carry an adapter."""
    return {
        (s.path[0], s.path[2]): (s.layers, *s.shape)
        for s in param_table(config)
        if s.layers and s.path[-1] == "weight" and len(s.shape) == 2
    }


def merge(params: dict, adapter: Adapter) -> dict:
    """The parameters with the adapter added in: W + scale B A, one stacked tensor at a time, in W's dtype."""
    merged = {tower: dict(tree) for tower, tree in params.items()}
    for tower, linears in adapter.weights.items():
        layers = dict(merged[tower]["layers"])
        for name, ab in linears.items():
            weight = layers[name]["weight"]
            delta = adapter.scale * jnp.einsum("lor,lri->loi", ab["b"], ab["a"])
            layers[name] = dict(layers[name], weight=(weight.astype(jnp.float32) + delta).astype(weight.dtype))
        merged[tower]["layers"] = layers
    return merged
