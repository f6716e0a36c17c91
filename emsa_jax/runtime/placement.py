"""Where the work of a stage lies on the devices of the run: the mesh, the two layouts of the policy, the batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh

from emsa_jax.errors import InputError
from emsa_jax.parallel.batch_sharding import BatchSharding
from emsa_jax.parallel.mesh import Need, batch_shards, make_mesh
from emsa_jax.parallel.parallel_options import MeshOptions
from emsa_jax.parallel.rules import DECODE, UPDATE
from emsa_jax.policy.inputs import PACKED, InputShape, PromptInputs, abstract_inputs
from emsa_jax.policy.layout import Layout, place
from emsa_jax.policy.lora import abstract_adapter
from emsa_jax.policy.parameter_table import num_params
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.policy.thinker_config import ThinkerConfig
from emsa_jax.runtime.console import say
from emsa_jax.runtime.hardware import device_bytes

ELEMENT_BYTES = {"float32": 4, "bfloat16": 2}

Trained = LoraOptions | Literal["all"] | None
"""What is trained of a policy: an adapter with these options, all parameters, or nothing."""


@dataclass(frozen=True)
class Placement:
    """The layouts of the update and of decoding on one mesh, and which part of a batch this process holds."""

    update: Layout
    decode: Layout
    sharding: BatchSharding

    @classmethod
    def of(
        cls, policy: ThinkerConfig, *, mesh: MeshOptions, dtype: str, trained: Trained, announce: bool = True
    ) -> Placement:
        """The placement of a policy on all devices of the run.

        Args:
          dtype: "float32" or "bfloat16", in which the policy's parameters are kept.
          trained: what is trained of the policy.
          announce: whether to say which mesh was chosen and why, where the run has several devices.

        Raises:
          InputError: the devices cannot hold the policy and what is trained of it. It is raised before anything is
            loaded.
        """
        need, memory = memory_need(policy, dtype, trained), device_bytes()
        chosen, reason = make_mesh(mesh, need=need, memory=memory)
        held = (need.weights + need.trained) // (chosen.shape["fsdp"] * chosen.shape["tensor"])
        if held > memory:
            fields = (
                "mesh.tensor or mesh.fsdp"
                + (", or dtype=bfloat16" if dtype == "float32" else "")
                + (", or sft.trainable=lora" if trained == "all" else "")
            )
            raise InputError(
                f"memory: the policy and what is trained of it are {held / 1e9:.3g} GB on each device, "
                f"which has {memory / 1e9:.3g}; set {fields}"
            )
        if announce and chosen.size > 1:
            sizes = " x ".join(f"{name} {size}" for name, size in chosen.shape.items())
            say(f"mesh: {sizes} on {chosen.size} {jax.devices()[0].device_kind} devices ({reason})")
        return cls.on(chosen, policy)

    @classmethod
    def on(cls, mesh: Mesh, policy: ThinkerConfig) -> Placement:
        """The placement of a policy on a mesh of devices of this run."""
        return cls(Layout(policy, mesh, UPDATE), Layout(policy, mesh, DECODE), BatchSharding.of(mesh))

    @classmethod
    def on_topology(
        cls,
        policy: ThinkerConfig,
        devices: Sequence[Any],
        memory: int,
        *,
        mesh: MeshOptions,
        dtype: str,
        trained: Trained,
    ) -> tuple[Placement, str]:
        """The placement of a policy on devices that are not in this machine, and why its mesh has its sizes.

        Args:
          devices: devices of a topology, or `parallel.mesh.StandIn`s.
          memory: bytes that programs may use on each device.
          mesh, dtype, trained: as for `of`.
        """
        chosen, reason = make_mesh(mesh, devices, memory_need(policy, dtype, trained), memory)
        layouts = (Layout(policy, chosen, rules) for rules in (UPDATE, DECODE))
        return cls(*layouts, BatchSharding(batch_shards(chosen))), reason

    @property
    def has_two_layouts(self) -> bool:
        """Whether the weights lie differently for decoding than for the update: where fsdp cuts them."""
        return self.update.mesh.shape["fsdp"] > 1

    def for_decoding(self, params: dict) -> dict:
        """The base as decoding reads it: a second copy, made once, where the layouts differ."""
        if not self.has_two_layouts:
            return params
        return jax.jit(lambda tree: tree, out_shardings=self.decode.params())(params)

    def rows(self, tree: Any) -> Any:
        """ShapeDtypeStructs of a whole batch, cut by its first dimension; scalars are whole on every device.

        Args:
          tree: arrays [batch, ...] and scalars, of which only shapes and dtypes count.
        """
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                leaf.shape, leaf.dtype, sharding=self.update.batch() if leaf.shape else self.update.whole
            ),
            tree,
        )

    def inputs(self, shape: InputShape, batch: int, micro_batches: int = 0) -> PromptInputs:
        """ShapeDtypeStructs of the inputs of a whole batch.

        Args:
          shape: of each shard of the batch.
          batch: prompts of all shards; with micro-batches, of each of these.
          micro_batches: the size of an additional first dimension, one micro-batch after the other; 0 for none.
        """
        shards = self.sharding.num_shards
        part = abstract_inputs(self.update.config, shape, batch // shards)
        lead = (micro_batches,) if micro_batches else ()

        def whole(leaf: np.ndarray, axis: int = 0) -> jax.ShapeDtypeStruct:
            whole_shape = (*lead, *(size * shards if i == axis else size for i, size in enumerate(leaf.shape)))
            return jax.ShapeDtypeStruct(whole_shape, leaf.dtype, sharding=self.update.batch(axis + len(lead)))

        arrays = {name: whole(getattr(part, name), PromptInputs.batch_axis(name)) for name in PACKED}
        given = {name: jax.tree.map(whole, getattr(part, name)) for name in ("states", "asks")}
        return PromptInputs(**arrays, shards=shards, **given)

    def state(self, state: Any) -> Any:
        """A train state, put where the update wants it."""
        return place(state, self.update.state(state))


def memory_need(policy: ThinkerConfig, dtype: str, trained: Trained) -> Need:
    """What has to fit into the devices, from which the sizes of the mesh are chosen."""
    return Need(
        weights=num_params(policy) * ELEMENT_BYTES[dtype],
        trained=trained_bytes(policy, trained),
        heads=policy.text.num_attention_heads,
        kv_heads=policy.text.num_key_value_heads,
    )


def trained_bytes(policy: ThinkerConfig, trained: Trained) -> int:
    """Bytes of what is trained, of its gradients and of Adam's two moments, each in float32.

    Raises InputError as `policy.lora.init_adapter` does.
    """
    if trained is None:
        return 0
    if trained == "all":
        return 16 * num_params(policy)
    return 16 * sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(abstract_adapter(policy, trained)))


def bytes_per_device(tree: Any, shardings: Any) -> int:
    """Bytes that one device holds of a tree of arrays or ShapeDtypeStructs."""
    sizes = jax.tree.map(
        lambda leaf, sharding: math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize, tree, shardings
    )
    return sum(jax.tree.leaves(sizes))
