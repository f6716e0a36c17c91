"""The parameter table against transformers' own parameters, and the released sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import Qwen2_5OmniThinkerConfig
from transformers import Qwen2_5OmniThinkerForConditionalGeneration as Thinker

from emsa_jax.errors import InputError
from emsa_jax.policy.hf_config import to_hf
from emsa_jax.policy.parameter_table import abstract_params, get, init_params, num_params, param_table
from emsa_jax.policy.thinker_config import preset

PARTS = {"model.audio_tower.": "audio_tower.", "model.visual.": "visual.", "model.language_model.": "model."}


def shapes_on_disk(config):
    """name -> shape, as the table has it."""
    return {spec.disk.format(n=n): spec.shape for spec in param_table(config) for n in range(max(spec.layers, 1))}


def shapes_of_transformers(hf_config):
    with torch.device("meta"):
        model = Thinker(hf_config)
    model.tie_weights()
    out = {}
    for name, p in model.named_parameters():  # a tied head is listed once
        for memory, disk in PARTS.items():
            name = disk + name.removeprefix(memory) if name.startswith(memory) else name
        out[name] = tuple(p.shape)
    return out


def test_names_and_shapes_are_those_of_transformers(world):
    assert shapes_on_disk(world.config) == shapes_of_transformers(world.model.config)
    with safe_open(world.directory / "model.safetensors", "numpy") as file:
        assert {k: tuple(file.get_slice(k).get_shape()) for k in file.keys()} == shapes_on_disk(world.config)


@pytest.mark.parametrize("size, count", [("7B", 8_931_813_888), ("3B", 4_703_464_448)])
def test_released_sizes(size, count):
    config = preset(size)
    assert num_params(config) == count
    assert sum(int(np.prod(x.shape)) for x in jax.tree.leaves(abstract_params(config))) == count
    theirs = shapes_of_transformers(Qwen2_5OmniThinkerConfig(**to_hf(config)))
    assert shapes_on_disk(config) == theirs
    if size == "7B":
        assert len(theirs) == 1346


def test_unknown_preset():
    with pytest.raises(InputError, match="'13B' is unknown"):
        preset("13B")


def test_random_parameters_fill_the_tree(worlds):
    world = worlds["base"]
    params = init_params(world.config, jax.random.key(0), jnp.bfloat16)
    abstract = abstract_params(world.config, jnp.bfloat16)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), params) == jax.tree.map(lambda x: (x.shape, x.dtype), abstract)
    for spec in param_table(world.config):
        x = np.asarray(get(params, spec.path), np.float32)
        if spec.init in ("ones", "zeros"):
            assert (x == (spec.init == "ones")).all()
        else:
            std = 0.02 if spec.init == "embed" else np.prod(spec.shape[1:]) ** -0.5
            assert 0.8 * std < x.std() < 1.2 * std and abs(x.mean()) < 0.2 * std, spec.path
    again = init_params(world.config, jax.random.key(0), jnp.bfloat16)
    assert jax.tree.all(jax.tree.map(np.array_equal, params, again))
    q, o = params["text"]["layers"]["q_proj"]["weight"], params["text"]["layers"]["o_proj"]["weight"]
    assert (q[0] != q[1]).any() and (q != o).any()


def test_every_dimension_has_a_logical_axis(world):
    for spec in param_table(world.config):
        assert len(spec.axes) == len(spec.shape), spec.path
        assert spec.stacked_shape == ((spec.layers, *spec.shape) if spec.layers else spec.shape)
