"""Where the policy's arrays lie on a mesh: parameters, adapter, trained state, cache and batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from emsa_jax.parallel.mesh import BATCH_AXES, batch_shards
from emsa_jax.parallel.rules import Rules, matching
from emsa_jax.policy.lora import Adapter, linear_specs
from emsa_jax.policy.parameter_table import ParamSpec, get, nest, param_table
from emsa_jax.policy.thinker_config import ThinkerConfig


@dataclass(frozen=True)
class Layout:
    """A policy's arrays on a mesh, by rules (`parallel.rules.UPDATE` or `DECODE`)."""

    config: ThinkerConfig
    mesh: Mesh
    rules: Rules

    def __post_init__(self) -> None:
        self.rules.check({spec.disk: spec.axes for spec in param_table(self.config)})

    @property
    def shards(self) -> int:
        """Parts that a batch is cut into."""
        return batch_shards(self.mesh)

    def batch(self, axis: int = 0) -> NamedSharding:
        """Of an array whose dimension `axis` is the batch."""
        return NamedSharding(self.mesh, PartitionSpec(*[None] * axis, BATCH_AXES))

    @property
    def whole(self) -> NamedSharding:
        """Of an array that every device holds."""
        return NamedSharding(self.mesh, PartitionSpec())

    def param(self, spec: ParamSpec) -> NamedSharding:
        """Of a parameter of the table."""
        axes = ("layers", *spec.axes) if spec.layers else spec.axes
        return self.rules.sharding(axes, spec.stacked_shape, self.mesh, self._units)

    def params(self) -> dict:
        """Shardings in the shape of `table.abstract_params`."""
        return nest((spec.path, self.param(spec)) for spec in param_table(self.config))

    def adapter(self, adapter: Adapter) -> Adapter:
        """Shardings in the shape of an adapter (of arrays or ShapeDtypeStructs): A as its linear's input, B as its
        output; what is trained whole as the parameter that it stands for."""
        specs, weights = linear_specs(self.config), {}
        for tower, linears in adapter.weights.items():
            for name, ab in linears.items():
                spec = specs[tower, name]
                (out, into), layers = spec.axes, ("layers",) * bool(spec.layers)
                weights.setdefault(tower, {})[name] = {
                    "a": self.rules.sharding((*layers, "rank", into), ab["a"].shape, self.mesh, self._units),
                    "b": self.rules.sharding((*layers, out, "rank"), ab["b"].shape, self.mesh, self._units),
                }
        params = self.params()
        whole = jax.tree_util.tree_map_with_path(lambda path, _: get(params, [at.key for at in path]), adapter.whole)
        return Adapter(weights, adapter.scale, whole)

    def trained(self, trained: Any) -> Any:
        """Shardings of what is trained: an adapter, or all parameters."""
        return self.adapter(trained) if isinstance(trained, Adapter) else self.params()

    def state(self, state: Any) -> Any:
        """Shardings in the shape of a `learning.TrainState` (of arrays or ShapeDtypeStructs): the optimizer's memory
        lies where its parameter does."""
        return matching(state, state.params, self.trained(state.params), self.whole)

    def cache(self) -> NamedSharding:
        """Of a prompt cache's keys and values, [layers, rows, kv_heads, slots, head_dim]."""
        heads = self.config.text.num_key_value_heads
        axes = ("layers", "batch", "kv_heads", None, None)
        shape = (self.config.text.num_hidden_layers, self.shards, heads, 1, 1)
        return self.rules.sharding(axes, shape, self.mesh)

    @property
    def _units(self) -> dict[str, int]:
        c = self.config
        return {
            "heads": c.text.num_attention_heads,
            "kv_heads": c.text.num_key_value_heads,
            **({"audio_heads": c.audio.encoder_attention_heads} if c.audio else {}),
            **({"vision_heads": c.vision.num_heads} if c.vision else {}),
        }


def place(tree: Any, shardings: Any) -> Any:
    """Arrays that are whole on every process, laid out on the mesh; those that lie so already are left as they are.

    shardings: a tree like `tree`, or one sharding for all.
    """
    if isinstance(shardings, NamedSharding):
        return jax.tree.map(lambda leaf: _put(leaf, shardings), tree)
    return jax.tree.map(_put, tree, shardings)


def on_host(stack: jax.Array, layer: int | None = None) -> np.ndarray:
    """An array, or one layer of it, whole on the host. Where it lies on devices of several processes, all of them have
    to ask."""
    if not isinstance(stack, jax.Array) or stack.is_fully_addressable:
        return np.asarray(stack if layer is None else stack[layer])
    whole = NamedSharding(stack.sharding.mesh, PartitionSpec())
    take = jax.jit(_layer_of if layer is not None else _same, out_shardings=whole)
    return np.asarray(take(stack, *(() if layer is None else (layer,))).addressable_data(0))


def _layer_of(stack: jax.Array, layer: jax.Array) -> jax.Array:
    return stack[layer]


def _same(stack: jax.Array) -> jax.Array:
    return stack


def _put(leaf: Any, sharding: NamedSharding) -> jax.Array:
    if isinstance(leaf, jax.Array) and leaf.sharding == sharding:
        return leaf
    if sharding.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])
