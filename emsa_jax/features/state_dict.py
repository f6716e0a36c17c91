"""Parameters of a network from and to the state dict of the public code that it is equal to.

Names and layouts are the same; BERT's layers are stacked here, and one tensor each there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.typing import DTypeLike

from emsa_jax.errors import InputError
from emsa_jax.features.networks import Batch, Network, Tree
from emsa_jax.policy.encoder_tables import bert_table
from emsa_jax.policy.parameter_table import ParamSpec, get, nest


def from_state_dict(
    network: Network, batch: Batch, state: Mapping[str, np.ndarray], dtype: DTypeLike = jnp.float32
) -> Tree:
    """Parameters out of a state dict, for batches of these sizes.

    Raises: InputError naming the tensor that is missing, unknown, or of another shape.
    """
    unused, prefix = network.unused(batch), network.kind.prefix

    def take(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name not in state:
            raise InputError(f"the state dict has no {name}; it is of another network than {network.name}")
        if tuple(state[name].shape) != tuple(shape):
            found, wanted = list(state[name].shape), list(shape)
            raise InputError(f"{name} has shape {found}, and these features and options need {wanted}")
        known.add(name)
        return np.asarray(state[name], dtype)

    known: set[str] = set(unused)
    flat = flatten_dict(network.shapes(batch)["net"])
    net = {path: jnp.asarray(take(".".join(path), leaf.shape)) for path, leaf in flat.items()}
    params: Tree = {"net": unflatten_dict(net)}
    if network.bert:
        specs = list(bert_table(network.bert))
        values = ([take(name, spec.shape) for name in _names(spec, prefix)] for spec in specs)
        stacked = (jnp.asarray(np.stack(v) if s.layers else v[0]) for s, v in zip(specs, values, strict=True))
        params |= nest((spec.path, value) for spec, value in zip(specs, stacked, strict=True))
    if unknown := sorted(state.keys() - known):
        raise InputError(f"the state dict has {unknown[0]}, which {network.name} does not")
    return params


def to_state_dict(network: Network, batch: Batch, params: Tree) -> dict[str, np.ndarray]:
    """A state dict that the public code loads; what it never trains is zeros."""
    state = trained_tensors(network, params)
    return state | {name: np.zeros(shape, np.float32) for name, shape in network.unused(batch).items()}


def trained_tensors(network: Network, params: Tree) -> dict[str, np.ndarray]:
    """Name in the state dict -> value, of parameters or of their gradients."""
    state = {name: np.asarray(leaf) for name, leaf in flatten_dict(params["net"], sep=".").items()}
    if network.bert:
        for spec in bert_table(network.bert):
            value = np.asarray(get(params, spec.path))
            names = list(_names(spec, network.kind.prefix))
            state |= dict(zip(names, value, strict=True)) if spec.layers else {names[0]: value}
    return state


def trained_shapes(network: Network, batch: Batch) -> dict[str, tuple[int, ...]]:
    """Name in the state dict -> shape, of all that is trained, for batches of these sizes."""
    shapes = {name: leaf.shape for name, leaf in flatten_dict(network.shapes(batch)["net"], sep=".").items()}
    if network.bert:
        for spec in bert_table(network.bert):
            shapes |= dict.fromkeys(_names(spec, network.kind.prefix), spec.shape)
    return shapes


def _names(spec: ParamSpec, prefix: str) -> Iterator[str]:
    for n in range(max(spec.layers, 1)):
        yield prefix + spec.disk.format(n=n)
