"""Logical axes to mesh axes; what is refused."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, PartitionSpec

from emsa_jax.errors import InputError
from emsa_jax.learning.state import create_state
from emsa_jax.parallel.rules import DECODE, UPDATE, Rules, constrain, using
from emsa_jax.policy.layout import Layout
from emsa_jax.policy.lora import init_adapter
from emsa_jax.policy.parameter_table import abstract_params, param_table
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.policy.thinker_config import AudioConfig, ClipConfig, TextConfig, ThinkerConfig, preset
from emsa_jax.policy.tiny import SPECIAL, tiny_config

MESH = SimpleNamespace(shape={"data": 2, "fsdp": 2, "tensor": 4}, size=16)


# Qwen3-4B that hears with Whisper large and sees with CLIP ViT-L/14
PARTS = ThinkerConfig(
    TextConfig(151936, 2560, 9728, 36, 32, 8, head_dim=128, qkv_bias=False, qk_norm=True),
    AudioConfig(output_dim=2560),
    ClipConfig(out_hidden_size=2560),
    tie_word_embeddings=True,
)


def test_a_policy_without_towers_has_a_place_too():
    one = Mesh(np.array(jax.devices()[:1]).reshape(1, 1, 1), ("data", "fsdp", "tensor"))
    alone = dataclasses.replace(PARTS, audio=None, vision=None)
    for policy in (PARTS, alone):
        assert jax.tree.structure(Layout(policy, one, UPDATE).params()) == jax.tree.structure(abstract_params(policy))


def test_dimensions_that_do_not_divide_stay_whole():
    assert UPDATE.spec(("mlp", "embed"), (8, 6), MESH) == PartitionSpec("tensor", "fsdp")
    assert UPDATE.spec(("mlp", "embed"), (6, 5), MESH) == PartitionSpec(None, None)
    assert UPDATE.spec(("batch", None), (8, 3), MESH) == PartitionSpec(("data", "fsdp"), None)
    assert UPDATE.spec(("kv_heads",), (512,), MESH, {"kv_heads": 2}) == PartitionSpec(None)  # 2 heads on 4 devices
    assert UPDATE.spec(("kv_heads",), (512,), MESH, {"kv_heads": 4}) == PartitionSpec("tensor")


def test_two_axes_of_one_array_are_not_cut_by_one_mesh_axis():
    with pytest.raises(InputError, match="'heads' and 'mlp' of one array are both cut by mesh axis 'tensor'"):
        UPDATE.spec(("heads", "mlp"), (8, 8), MESH)
    with pytest.raises(InputError, match="no logical axis 'head'"):
        UPDATE.spec(("head",), (8,), MESH)
    one = Mesh(np.array(jax.devices()[:1]).reshape(1, 1, 1), ("data", "fsdp", "tensor"))
    with pytest.raises(InputError, match="embed_tokens.weight with axes .* twice by mesh axis 'tensor'"):
        Layout(preset("7B"), one, dataclasses.replace(UPDATE, embed=("tensor",)))


@pytest.mark.parametrize("policy", [preset("3B"), preset("7B"), PARTS], ids=["3B", "7B", "parts"])
def test_decoding_gathers_nothing(policy):
    """No weight is cut along fsdp there, and nothing else differs."""
    for spec in param_table(policy):
        update, decode = (rules.spec(spec.axes, spec.shape, MESH) for rules in (UPDATE, DECODE))
        assert "fsdp" not in str(decode)
        assert [a for a in update if a != "fsdp"] == [a for a, b in zip(decode, update, strict=True) if b != "fsdp"]


@pytest.mark.parametrize("policy", [preset("7B"), PARTS], ids=["7B", "parts"])
def test_every_large_weight_is_cut_both_ways(policy):
    for spec in param_table(policy):
        if np.prod(spec.shape) > 10**6 and len(spec.shape) == 2 and "embed" in spec.axes and "media" not in spec.axes:
            assert str(UPDATE.spec(spec.axes, spec.shape, MESH)).count("tensor") == 1, spec
            assert str(UPDATE.spec(spec.axes, spec.shape, MESH)).count("fsdp") == 1, spec


def test_the_optimizer_remembers_where_its_parameters_lie():
    mesh = Mesh(np.array(jax.devices()[:1]).reshape(1, 1, 1), ("data", "fsdp", "tensor"))
    config = tiny_config(dict.fromkeys(SPECIAL, 0), 64)
    adapter = init_adapter(config, LoraOptions(rank=2, targets=("q_proj", "down_proj")), jax.random.key(0))
    adam = optax.adamw(optax.constant_schedule(1.0))
    state = create_state(adapter, optax.chain(optax.clip_by_global_norm(1.0), adam))

    class Marked(Rules):
        def sharding(self, axes, shape, mesh, units=None):
            return f"{axes} {shape}"

    layout = Layout(config, mesh, Marked())
    found = jax.tree.map(lambda leaf: None if not isinstance(leaf, str) else leaf, layout.state(state))
    moments = [found.opt_state[1][0].mu, found.opt_state[1][0].nu]
    assert all(jax.tree.leaves(moment) == jax.tree.leaves(found.params) for moment in moments)
    assert "('layers', 'rank', 'mlp') (4, 2, 384)" in jax.tree.leaves(found.params)
    assert layout.state(state).step == layout.whole == layout.state(state).opt_state[1][0].count


def test_constrain_does_nothing_on_one_device():
    mesh = Mesh(np.array(jax.devices()[:1]).reshape(1, 1, 1), ("data", "fsdp", "tensor"))
    x = jnp.ones((2, 2))
    assert constrain(x, "batch", None) is x
    with using(mesh, UPDATE):
        assert constrain(x, "batch", None) is x
