"""How a stage's work lies on the devices of the run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import Mesh

from emsa_jax.errors import InputError
from emsa_jax.parallel.batch_sharding import BatchSharding
from emsa_jax.parallel.mesh import Need, make_mesh
from emsa_jax.parallel.rules import DECODE, UPDATE
from emsa_jax.policy.inputs import InputShape, PromptInputs, abstract_inputs
from emsa_jax.policy.layout import Layout, place
from emsa_jax.policy.lora import linear_shapes
from emsa_jax.policy.parameter_table import num_params
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.policy.thinker_config import ThinkerConfig
from emsa_jax.runtime.console import say
from emsa_jax.runtime.hardware import device_bytes
from emsa_jax.settings.config import Config

WIDTH = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class Placement:
    """Layouts of the update and of decoding on one mesh, and this process's share of a batch."""

    update: Layout
    decode: Layout
    sharding: BatchSharding

    @classmethod
    def of(cls, config: Config, policy: ThinkerConfig, trained: str = "lora", tell: bool = True) -> Placement:
        """For a policy of which an adapter ("lora"), everything ("all") or nothing ("") is trained. tell: say which
        mesh was chosen, and why, where there is a choice. Raises InputError if the devices cannot hold it."""
        need = Need(
            num_params(policy) * WIDTH[config.dtype],
            trained_bytes(policy, config.lora, trained),
            policy.text.num_attention_heads,
            policy.text.num_key_value_heads,
        )
        there = device_bytes()
        mesh, why = make_mesh(config.mesh, need=need, memory=there)
        held = (need.weights + need.trained) // (mesh.shape["fsdp"] * mesh.shape["tensor"])
        if held > there:  # told before anything is loaded
            fields = (
                "mesh.tensor or mesh.fsdp"
                + (", or dtype=bfloat16" if config.dtype == "float32" else "")
                + (", or sft.trainable=lora" if trained == "all" else "")
            )
            raise InputError(
                f"memory: the policy and what is trained of it are {held / 1e9:.3g} GB on each device, "
                f"which has {there / 1e9:.3g}; set {fields}"
            )
        if tell and mesh.size > 1:
            sizes = " x ".join(f"{name} {size}" for name, size in mesh.shape.items())
            say(f"mesh: {sizes} on {mesh.size} {jax.devices()[0].device_kind} devices ({why})")
        return cls.on(mesh, policy)

    @classmethod
    def on(cls, mesh: Mesh, policy: ThinkerConfig) -> Placement:
        """For a policy on a given mesh."""
        return cls(Layout(policy, mesh, UPDATE), Layout(policy, mesh, DECODE), BatchSharding.of(mesh))

    @property
    def apart(self) -> bool:
        """Whether weights lie differently for decoding than for the update."""
        return self.update.mesh.shape["fsdp"] > 1

    def for_decoding(self, params: dict) -> dict:
        """The base as decoding wants it: laid out a second time, once, where that differs."""
        if not self.apart:
            return params
        return jax.jit(lambda tree: tree, out_shardings=self.decode.params())(params)

    def rows(self, tree: Any) -> Any:
        """Shapes of a whole batch -> ShapeDtypeStructs that lie as a batch does; scalars are whole everywhere."""
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                leaf.shape, leaf.dtype, sharding=self.update.batch() if leaf.shape else self.update.whole
            ),
            tree,
        )

    def inputs(self, budget: InputShape, batch: int, micro_batches: int = 0) -> PromptInputs:
        """The shapes of a whole batch's inputs, each part of which has the budget; with micro-batches, of all of them,
        one after the other on a first axis of their own."""
        shards = self.sharding.num_shards
        part = abstract_inputs(self.update.config, budget, batch // shards)
        lead = (micro_batches,) if micro_batches else ()

        def whole(name: str) -> jax.ShapeDtypeStruct:
            leaf, axis = getattr(part, name), PromptInputs.batch_axis(name)
            shape = (*lead, *(size * shards if i == axis else size for i, size in enumerate(leaf.shape)))
            return jax.ShapeDtypeStruct(shape, leaf.dtype, sharding=self.update.batch(axis + len(lead)))

        names = [name for name in PromptInputs.__dataclass_fields__ if name != "shards"]
        return PromptInputs(**{name: whole(name) for name in names}, shards=shards)

    def state(self, state: Any) -> Any:
        """A train state on the mesh."""
        return place(state, self.update.state(state))


def trained_bytes(policy: ThinkerConfig, lora: LoraOptions, trained: str) -> int:
    """Bytes of what is trained, of its gradients and of Adam's two moments, float32."""
    if not trained:
        return 0
    if trained == "all":
        return 16 * num_params(policy)
    shapes, total = linear_shapes(policy), 0
    for target in lora.targets:
        tower, _, name = target.rpartition(".")
        layers, out, into = shapes.get((tower or "text", name), (0, 0, 0))  # init_adapter says which is unknown
        total += layers * lora.rank * (out + into)
    return 16 * total


def split_bytes(tree: Any, shardings: Any) -> int:
    """Bytes that one device holds of a tree of arrays or ShapeDtypeStructs."""
    sizes = jax.tree.map(
        lambda leaf, sharding: math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize, tree, shardings
    )
    return sum(jax.tree.leaves(sizes))
