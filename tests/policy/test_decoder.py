"""Cached decoding and the joint forward of groups equal plain forwards of whole sequences."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from emsa_jax.policy import decoder
from emsa_jax.policy.lora import Adapter, init_adapter
from emsa_jax.policy.policy_options import LoraOptions

GROUP, STEPS = 2, 5
TOLERANCE = 2e-4


def random_adapter(config, rank=3):
    """An adapter on every text linear that changes something."""
    adapter = init_adapter(config, LoraOptions(rank, 2 * rank), jax.random.key(0))
    leaves, tree = jax.tree.flatten(adapter.weights)
    rng = np.random.default_rng(0)
    return Adapter(
        tree.unflatten([0.1 * rng.standard_normal(x.shape).astype(np.float32) for x in leaves]), adapter.scale
    )


@pytest.fixture
def prompt(world):
    """(case, inputs, answers [N, G, C]): every kind of media, or positions that step back."""
    case = {"base": "film_quirks", "alt": "mix"}[world.name]
    inputs = world.inputs(case)
    answers = np.random.default_rng(3).integers(0, 100, (len(inputs.tokens), GROUP, STEPS))
    return case, inputs, answers


@pytest.mark.parametrize("place", ["cpu", "tpu"])
def test_cached_decoding_is_transformers_whole_sequence(world, prompt, monkeypatch, place):
    """Every step's logits against a forward of prompt and answer in one piece, for each answer of each group."""
    monkeypatch.setattr(decoder, "platform", lambda: place)
    case, inputs, answers = prompt
    text = world.params["text"]
    x, hidden, cache = world.prefill(world.params, inputs)
    own = decoder.empty_cache(world.config.text, len(answers) * GROUP, STEPS, x.dtype)
    ours = [jnp.repeat(hidden[:, None, -1], GROUP, axis=1)]
    for t in range(STEPS):
        h, own = world.step(
            text,
            text["embed_tokens"][answers[:, :, t]],
            inputs.next_position + t,
            jnp.int32(t),
            cache,
            inputs.mask,
            own,
        )
        ours.append(h)
    ours = np.asarray(jnp.stack(ours, 2) @ decoder.head(text).T)
    for g in range(GROUP):
        rows = [replace(r, tokens=r.tokens + answers[i, g].tolist()) for i, r in enumerate(world.rows(case))]
        world.model.model.rope_deltas = None
        with torch.no_grad():
            theirs = world.model(**world.torch_inputs(rows), use_cache=False).logits.numpy()
        assert np.abs(ours[:, g] - theirs[:, -STEPS - 1 :]).max() < TOLERANCE


def test_greedy_tokens_are_those_of_generate(world):
    inputs, x = world.inputs("film_quirks"), world.torch_inputs(world.rows("film_quirks"))
    world.model.model.rope_deltas = None
    theirs = world.model.generate(
        **x, max_new_tokens=STEPS, do_sample=False, return_dict_in_generate=True, output_logits=True
    )
    two = torch.stack(theirs.logits, 1).topk(2).values
    text = world.params["text"]
    _, hidden, cache = world.prefill(world.params, inputs)
    own = decoder.empty_cache(world.config.text, len(hidden) * GROUP, STEPS, hidden.dtype)
    h, clear = jnp.repeat(hidden[:, -1:], GROUP, axis=1), np.ones(len(hidden), bool)
    for t in range(STEPS):
        ours = np.asarray(h @ decoder.head(text).T).argmax(-1)
        clear &= (two[:, t, 0] - two[:, t, 1] > 10 * TOLERANCE).numpy()
        expected = theirs.sequences[:, x["input_ids"].shape[1] + t].numpy()
        assert (ours[clear] == expected[clear, None]).all()
        h, own = world.step(
            text, text["embed_tokens"][ours], inputs.next_position + t, jnp.int32(t), cache, inputs.mask, own
        )
    assert clear.any()


def test_forward_groups_is_forward_on_each_pair(world, prompt):
    """Values in both worlds, and in one the gradients to the adapter, the prompt and the answers."""
    differentiated = world.name == "base"
    remat = "full" if differentiated else "none"
    _, inputs, answers = prompt
    x, *_ = world.prefill(world.params, inputs)
    c, n = world.config.text, len(answers)
    adapter = random_adapter(world.config)
    answer = world.params["text"]["embed_tokens"][answers]
    positions = inputs.next_position[:, :, None] + np.arange(STEPS)
    rng = np.random.default_rng(4)
    pull = [rng.standard_normal((n, *s, x.shape[-1])).astype(np.float32) for s in (x.shape[1:2], (GROUP, STEPS))]
    pull[0] *= inputs.mask[..., None]

    def groups(adapter, x, answer):
        out = decoder.forward_groups(
            world.params["text"], adapter, c, x, inputs.positions, inputs.mask, answer, positions, remat
        )
        return sum(jnp.sum(a * b) for a, b in zip(out, pull, strict=True)), out

    def pairs(adapter, x, answer):
        whole = jnp.concatenate([jnp.repeat(x, GROUP, 0), answer.reshape(n * GROUP, STEPS, -1)], axis=1)
        where = jnp.concatenate([inputs.positions, positions], axis=2).repeat(GROUP, axis=1)
        mask = jnp.concatenate([inputs.mask, np.ones((n, STEPS), bool)], axis=1).repeat(GROUP, axis=0)
        out, _ = decoder.forward(world.params["text"], adapter, c, whole, where, mask)
        out = out.reshape(n, GROUP, -1, x.shape[-1])
        out = out[:, 0, : x.shape[1]], out[:, :, x.shape[1] :]
        return sum(jnp.sum(a * b) for a, b in zip(out, pull, strict=True)), out

    args = (adapter, x, answer)
    if differentiated:
        groups, pairs = (jax.value_and_grad(f, (0, 1, 2), has_aux=True) for f in (groups, pairs))
    ours, theirs = jax.jit(groups)(*args), jax.jit(pairs)(*args)
    if differentiated:
        (ours, our_grads), (theirs, their_grads) = ours, theirs
        for a, b in zip(jax.tree.leaves(our_grads), jax.tree.leaves(their_grads), strict=True):
            assert np.abs(b).max() > 1e-3
            assert np.abs(a - b).max() < 1e-4 * np.abs(b).max()
    np.testing.assert_allclose(ours[1][0][inputs.mask], theirs[1][0][inputs.mask], atol=1e-4)
    np.testing.assert_allclose(ours[1][1], theirs[1][1], atol=1e-4)


def test_recomputation_is_what_is_asked_for(worlds):
    world = worlds["alt"]
    c, params = world.config.text, world.params["text"]
    x, positions, mask = jnp.ones((2, 6, c.hidden_size)), jnp.zeros((3, 2, 6), jnp.int32), jnp.ones((2, 6), bool)
    answer, after = jnp.ones((2, GROUP, STEPS, c.hidden_size)), jnp.zeros((3, 2, STEPS), jnp.int32)

    def alone(x, remat):
        return jnp.sum(decoder.forward(params, None, c, x, positions, mask, remat)[0])

    def groups(x, remat):
        return jnp.sum(decoder.forward_groups(params, None, c, x, positions, mask, answer, after, remat)[1])

    for loss, attention in ((alone, 2), (groups, 6)):
        programs = {r: str(jax.make_jaxpr(jax.grad(loss), static_argnums=1)(x, r)) for r in ("none", "dots", "full")}
        assert ["remat" in p for p in programs.values()] == [False, True, True]
        products = [p.count("dot_general") for p in programs.values()]
        # "dots" does those of attention again, "full" the 7 with weights too
        assert products[0] < products[1] <= products[0] + attention and products[2] >= products[1] + 6
