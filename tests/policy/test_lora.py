"""Fresh adapters change nothing, adapters on any linear change something, and merging is adding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emsa_jax.errors import InputError
from emsa_jax.policy import lora
from emsa_jax.policy.lora import Adapter, abstract_adapter, changes, init_adapter, linear_shapes, merge, with_whole
from emsa_jax.policy.policy_options import LoraOptions

TEXT = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
AUDIO = tuple(f"audio.{n}" for n in ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2", "proj"))
VISION_LAYERS = ("q", "k", "v", "proj", "gate_proj", "up_proj", "down_proj")
VISION = tuple(f"vision.{n}" for n in (*VISION_LAYERS, "merger_in", "merger_out"))

jitted_merge = jax.jit(merge)  # one program instead of one for every shape
EVERYWHERE = LoraOptions(3, 12, TEXT + AUDIO + VISION)


def test_a_fresh_adapter_changes_nothing(world):
    adapter = init_adapter(world.config, EVERYWHERE, jax.random.key(0))
    inputs = world.inputs("mix")
    np.testing.assert_array_equal(world.logits(world.params, adapter, inputs), world.logits(world.params, None, inputs))
    merged = jitted_merge(world.params, adapter)
    assert jax.tree.all(jax.tree.map(lambda a, b: a.dtype == b.dtype and np.array_equal(a, b), merged, world.params))


def test_what_a_fresh_adapter_holds(world):
    adapter = init_adapter(world.config, LoraOptions(5, 20.0), jax.random.key(0))
    assert adapter.scale == 4 and not adapter.touches_towers
    assert set(adapter.weights) == {"text"} and tuple(adapter.weights["text"]) == TEXT
    for name, ab in adapter.weights["text"].items():
        layers, out, width = linear_shapes(world.config)["text", name]
        assert ab["a"].shape == (layers, 5, width) and ab["b"].shape == (layers, out, 5)
        assert ab["a"].dtype == ab["b"].dtype == jnp.float32
        a = np.asarray(ab["a"])
        assert not ab["b"].any()
        # Kaiming with a = sqrt(5): uniform within 1 / sqrt(in)
        assert 0.9 * width**-0.5 < np.abs(a).max() <= width**-0.5
        assert abs(a.std() * (3 * width) ** 0.5 - 1) < 0.15
        assert (a[0] != a[1]).any()
    q, k = (adapter.weights["text"][n]["a"] for n in ("q_proj", "k_proj"))
    assert (q != k).any()
    assert init_adapter(world.config, LoraOptions(2, 2.0, ("audio.fc1",)), jax.random.key(0)).touches_towers


def test_known_linears(world):
    assert {n if t == "text" else f"{t}.{n}" for t, n in linear_shapes(world.config)} == {*TEXT, *AUDIO, *VISION}


@pytest.mark.parametrize("target", ["qproj", "audio.q", "vision.q_proj", "text.norm", "input_norm", "lm_head", ""])
def test_an_unknown_target_is_named(world, target):
    with pytest.raises(InputError, match=f"lora.targets: '{target}' is no linear.*q_proj.*audio.fc1.*vision.proj"):
        init_adapter(world.config, LoraOptions(2, 2.0, ("q_proj", target)), jax.random.key(0))


def loud(adapter, seed=0):
    """The adapter with every weight drawn anew, large enough to matter."""
    leaves, tree = jax.tree.flatten(adapter.weights)
    rng = np.random.default_rng(seed)
    return Adapter(
        tree.unflatten([0.08 * rng.standard_normal(x.shape).astype(np.float32) for x in leaves]), adapter.scale
    )


def test_every_layer_of_every_linear_is_reached(world):
    """One layer of one linear at a time changes the logits."""
    fresh = init_adapter(world.config, EVERYWHERE, jax.random.key(0))
    full, inputs = loud(fresh), world.inputs("mix")
    plain = world.logits(world.params, fresh, inputs)
    for tower, linears in full.weights.items():
        for name, ab in linears.items():
            for layer in range(len(ab["b"])) if ab["b"].ndim == 3 else (...,):
                one = np.zeros_like(ab["b"])
                one[layer] = ab["b"][layer]
                weights = {**fresh.weights, tower: {**fresh.weights[tower], name: {"a": ab["a"], "b": one}}}
                moved = world.logits(world.params, Adapter(weights, fresh.scale), inputs)
                assert np.abs(moved - plain)[inputs.mask].max() > 1e-3, (tower, name, layer)


def test_merged_equals_unmerged(world):
    adapter = loud(init_adapter(world.config, EVERYWHERE, jax.random.key(0)))
    inputs = world.inputs("mix")
    plain = world.logits(world.params, None, inputs)
    unmerged = world.logits(world.params, adapter, inputs)
    merged = world.logits(jitted_merge(world.params, adapter), None, inputs)
    mask = inputs.mask
    assert np.abs(unmerged - merged)[mask].max() < 2e-4
    assert np.abs(unmerged - plain)[mask].max() > 0.1
    half = jax.tree.map(lambda x: np.asarray(x, jnp.bfloat16), world.params)
    half = jax.eval_shape(merge, half, adapter)  # in the base's own type
    assert {x.dtype for x in jax.tree.leaves(half)} == {jnp.dtype(jnp.bfloat16)}


ALSO = LoraOptions(
    3, 12, ("q_proj", "vision.merger_in"), also=("audio.proj", "vision.merger_norm", "text.layers.input_norm")
)


def test_what_is_trained_whole_begins_as_the_base_and_acts_in_its_place(world):
    adapter, inputs = init_adapter(world.config, ALSO, jax.random.key(0), world.params), world.inputs("mix")
    assert set(adapter.whole) == {"audio", "vision", "text"} and set(adapter.whole["audio"]["proj"]) == {
        "weight",
        "bias",
    }
    assert set(adapter.whole["text"]["layers"]) == {"input_norm"} and adapter.touches_towers
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), adapter)
    assert shapes == jax.tree.map(lambda x: (x.shape, x.dtype), abstract_adapter(world.config, ALSO))
    plain = world.logits(world.params, None, inputs)
    np.testing.assert_array_equal(world.logits(world.params, adapter, inputs), plain)
    for tower, part in adapter.whole.items():
        moved = adapter.replace(whole=adapter.whole | {tower: jax.tree.map(lambda x: 1.5 * x, part)})
        ours = world.logits(world.params, moved, inputs)
        assert np.abs(ours - plain)[inputs.mask].max() > 1e-3, tower
        merged = world.logits(jitted_merge(world.params, moved), None, inputs)
        assert np.abs(ours - merged)[inputs.mask].max() < 2e-4
    half = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, jnp.bfloat16), world.params)
    assert {x.dtype for x in jax.tree.leaves(jax.eval_shape(with_whole, half, adapter))} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize(
    "options, message",
    [
        (LoraOptions(2, 2.0, ("q_proj",), also=("audio.project",)), "'audio.project' is no part.*audio.proj, .*vision"),
        (LoraOptions(2, 2.0, ("q_proj",), also=("audio.proj.weight",)), "'audio.proj.weight' is no part"),
        (LoraOptions(2, 2.0, ("q_proj", "audio.proj"), also=("audio.proj",)), "audio.proj is trained whole.*targets"),
        (LoraOptions(2, 2.0, ("q_proj",), also=("text.layers",)), "text.q_proj is trained whole.*targets"),
    ],
)
def test_a_set_that_cannot_be_trained_whole_is_named(world, options, message):
    with pytest.raises(InputError, match=f"lora.also: {message}"):
        abstract_adapter(world.config, options)


def test_embeddings_that_are_the_head_too_are_not_trained_whole(worlds):
    options = LoraOptions(2, 2.0, ("q_proj",), also=("text.embed_tokens",))
    abstract_adapter(worlds["base"].config, options)
    with pytest.raises(InputError, match="lora.also: text.embed_tokens holds the embeddings"):
        abstract_adapter(worlds["alt"].config, options)


def test_whether_an_adapter_changes_anything(world, monkeypatch):
    """As merging would show, without merging: one linear that differs is enough, one too small to be seen is none."""
    params, options = world.params, LoraOptions(2, 4.0, ("q_proj", "audio.proj", "down_proj"), also=("text.norm",))
    fresh = init_adapter(world.config, options, jax.random.key(0), params)
    assert not changes(params, fresh)

    def with_b(tower, name, value):
        pair = fresh.weights[tower][name]
        pair = pair | {"b": pair["b"].at[..., 0, 0].set(value)}
        return fresh.replace(weights=fresh.weights | {tower: fresh.weights[tower] | {name: pair}})

    for adapter in (with_b("text", "down_proj", 0.1), with_b("audio", "proj", 0.1), with_b("text", "q_proj", 1e-30)):
        merged = merge(params, adapter)
        differs = not jax.tree.all(jax.tree.map(np.array_equal, merged, params))
        assert changes(params, adapter) == differs
    assert differs is False
    norm = fresh.whole["text"]["norm"]["weight"]
    assert changes(params, fresh.replace(whole={"text": {"norm": {"weight": norm.at[0].add(1)}}}))
    added = []
    monkeypatch.setattr(lora, "_added", lambda weight, *_: added.append(1) or weight + 1)
    every = jax.tree.map(lambda x: x + 1, fresh.weights)
    assert changes(params, fresh.replace(weights=every)) and len(added) == 1
