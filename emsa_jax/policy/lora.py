"""LoRA: h = W x + (alpha / r) B A x, with W frozen (Hu et al. 2021), and parameters that are trained whole beside it.
Adapters are trees of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from emsa_jax.errors import InputError
from emsa_jax.policy.parameter_table import ParamSpec, get, nest, param_table
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.policy.thinker_config import ThinkerConfig


@struct.dataclass
class Adapter:
    """A LoRA adapter, with the parameters that are trained whole beside it.

    Attributes:
      weights: {tower: {linear: {"a": [L, r, in], "b": [L, out, r]}}}, float32; towers "text", "audio", "vision". A
        linear without a stack of layers, such as a projector, has no axis L.
      scale: alpha / r (alpha / sqrt(r) for rank-stabilised LoRA), static.
      whole: a part of the tree of parameters, float32, which stands in place of the base's.
    """

    weights: dict
    scale: float = struct.field(pytree_node=False, default=1.0)
    whole: dict = struct.field(default_factory=dict)

    @property
    def touches_towers(self) -> bool:
        """Whether media encodings depend on the adapter (then they cannot be shared with the reference)."""
        return any(tower != "text" for tower in (*self.weights, *self.whole))


def init_adapter(config: ThinkerConfig, options: LoraOptions, key: jax.Array, params: dict | None = None) -> Adapter:
    """A fresh adapter: A uniform as PEFT draws it (Kaiming, a = sqrt(5)), B zero, so that it changes nothing yet.

    Drawn on the host: a device would compile a program for every shape.

    Args:
      params: the base, from which what is trained whole is copied; only needed with `options.also`.

    Raises: InputError naming a target or a set of parameters that the policy does not have.
    """
    seed = np.asarray(jax.random.key_data(key)).tolist()
    weights: dict = {}
    for i, (tower, name, (*layers, out, width)) in enumerate(_targets(config, options)):
        rng, bound = np.random.default_rng([*seed, i]), np.float32(width**-0.5)
        a = (2 * rng.random((*layers, options.rank, width), np.float32) - 1) * bound
        b = np.zeros((*layers, out, options.rank), np.float32)
        weights.setdefault(tower, {})[name] = {"a": jnp.asarray(a), "b": jnp.asarray(b)}
    whole = nest((s.path, jnp.copy(get(params, s.path)).astype(jnp.float32)) for s in whole_specs(config, options))
    return Adapter(weights, options.alpha / options.rank, whole)


def abstract_adapter(config: ThinkerConfig, options: LoraOptions) -> Adapter:
    """The adapter that `init_adapter` draws, as ShapeDtypeStructs; raises as it does."""
    weights: dict = {}
    for tower, name, (*layers, out, width) in _targets(config, options):
        weights.setdefault(tower, {})[name] = {
            "a": jax.ShapeDtypeStruct((*layers, options.rank, width), jnp.float32),
            "b": jax.ShapeDtypeStruct((*layers, out, options.rank), jnp.float32),
        }
    specs = whole_specs(config, options)
    whole = nest((s.path, jax.ShapeDtypeStruct(s.stacked_shape, jnp.float32)) for s in specs)
    return Adapter(weights, options.alpha / options.rank, whole)


def _targets(config: ThinkerConfig, options: LoraOptions) -> Iterator[tuple[str, str, tuple[int, ...]]]:
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


def linear_specs(config: ThinkerConfig) -> dict[tuple[str, str], ParamSpec]:
    """(tower, linear) -> its weight, for every linear that can carry an adapter."""
    return {
        (s.path[0], s.path[-2]): s
        for s in param_table(config)
        if s.path[-1] == "weight" and len(s.shape) == 2 and s.path[:-2] in ((s.path[0],), (s.path[0], "layers"))
    }


def linear_shapes(config: ThinkerConfig) -> dict[tuple[str, str], tuple[int, ...]]:
    """(tower, linear) -> (layers, out, in), or (out, in) without a stack of layers."""
    return {place: spec.stacked_shape for place, spec in linear_specs(config).items()}


def whole_specs(config: ThinkerConfig, options: LoraOptions) -> tuple[ParamSpec, ...]:
    """The parameters that are trained whole, in the order of the table.

    Raises: InputError naming a set that the policy does not have, that carries an adapter too, or that is tied."""
    table = param_table(config)
    modules = [s.path[:-1] if s.path[-1] in ("weight", "bias") else s.path for s in table]
    chosen: set[tuple[str, ...]] = set()
    for name in options.also:
        path = tuple(name.split("."))
        found = {module for module in modules if module[: len(path)] == path}
        if not found:
            raise InputError(f"lora.also: {name!r} is no part of the policy; known: {_sets(modules)}")
        if ("text", "embed_tokens") in found and config.tie_word_embeddings:
            raise InputError(f"lora.also: {name} holds the embeddings, which are the head too; leave them as they are")
        chosen |= found
    for tower, name, _ in _targets(config, options) if chosen else ():
        if {(tower, name), (tower, "layers", name)} & chosen:
            raise InputError(f"lora.also: {tower}.{name} is trained whole, and named in lora.targets too; choose one")
    return tuple(spec for spec, module in zip(table, modules, strict=True) if module in chosen)


def _sets(modules: list[tuple[str, ...]]) -> str:
    return ", ".join(dict.fromkeys(".".join(module[:2]) for module in modules))


def with_whole(params: dict, adapter: Adapter | None) -> dict:
    """The parameters with those that are trained whole in their places, in the base's dtype."""
    return _laid_over(params, adapter.whole) if adapter is not None and adapter.whole else params


def _laid_over(params: Any, whole: Any) -> Any:
    if not isinstance(whole, dict):
        return whole.astype(params.dtype)
    return params | {name: _laid_over(params[name], part) for name, part in whole.items()}


def merge(params: dict, adapter: Adapter) -> dict:
    """The parameters with the adapter added in: W + scale B A, one tensor (of all layers) at a time, in W's dtype."""
    params = with_whole(params, adapter)
    merged = {tower: dict(tree) for tower, tree in params.items()}
    for tower, linears in adapter.weights.items():
        layers = dict(merged[tower]["layers"])
        for name, ab in linears.items():
            holder = layers if ab["a"].ndim == 3 else merged[tower]
            holder[name] = dict(holder[name], weight=_added(holder[name]["weight"], ab, adapter.scale))
        merged[tower]["layers"] = layers
    return merged


def changes(params: dict, adapter: Adapter) -> bool:
    """Whether merging the adapter would change any weight; no more is computed than it takes to see one."""
    if not jax.tree.all(jax.tree.map(_same_numbers, with_whole(params, adapter), params)):
        return True
    for tower, linears in adapter.weights.items():
        for name, ab in linears.items():
            weight = (params[tower]["layers"] if ab["a"].ndim == 3 else params[tower])[name]["weight"]
            if jnp.any(ab["b"]) and jnp.any(ab["a"]) and not _same_numbers(_added(weight, ab, adapter.scale), weight):
                return True
    return False


def _added(weight: jax.Array, ab: dict, scale: float) -> jax.Array:
    """W + scale B A, in W's dtype."""
    delta = scale * jnp.einsum("...or,...ri->...oi", ab["b"], ab["a"])
    return (weight.astype(jnp.float32) + delta).astype(weight.dtype)


def _same_numbers(one: jax.Array, other: jax.Array) -> bool:
    return one is other or bool(jnp.array_equal(one, other))
