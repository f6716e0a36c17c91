import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from emsa_jax.learning import sft_update as sft
from emsa_jax.learning.sft_update import SftBatch, split_trained
from emsa_jax.learning.state import create_state
from emsa_jax.policy.thinker import encode_prompts

N, C = 4, 6
RATE = 0.5
SGD = optax.sgd(RATE)


@pytest.fixture(scope="module")
def answers():
    """(tokens, mask) [N, C]: answers of different lengths, the end token last."""
    tokens = np.random.default_rng(1).integers(4, 17, (N, C)).astype(np.int32)
    mask = np.arange(C) < np.array([6, 3, 1, 4])[:, None]
    tokens[np.arange(N), mask.sum(1) - 1] = 1
    return np.where(mask, tokens, 0), mask


def in_micro_batches(world, answers, count) -> SftBatch:
    """Prompts with and without sound, cut as they come; media go with their micro-batch."""
    tokens, mask = (t.reshape(count, N // count, C) for t in answers)
    return SftBatch(world.batches(count), tokens, mask)


@pytest.fixture
def update(world, quickly):
    return quickly(functools.partial(sft.sft_update, config=world.config, optimizer=SGD))


def cross_entropy(world, logprobs, answers, base):
    """trained -> (mean over answer tokens of -log p, mean p)."""
    tokens, mask = answers

    def loss(trained):
        params, adapter = split_trained(trained, base)
        prompts = encode_prompts(params, adapter, world.config, world.inputs)
        logps, _ = logprobs(params, adapter, world.config, prompts, tokens[:, None], 1.0)
        of_answers = jnp.where(mask, logps[:, 0], 0.0)
        return -of_answers.sum() / mask.sum(), jnp.where(mask, jnp.exp(of_answers), 0.0).sum() / mask.sum()

    return loss


def check(update, world, quickly, same_trees, answers, logprobs, trained, base, counts):
    (loss, sure), grads = quickly(jax.value_and_grad(cross_entropy(world, logprobs, answers, base), has_aux=True))(
        trained
    )
    moved = [g for g in jax.tree.leaves(grads) if np.abs(g).max() > 0]
    for count in counts:
        state, logged = update(create_state(trained, SGD), base, in_micro_batches(world, answers, count))
        ours = jax.tree.map(lambda old, new: np.asarray(old - new) / RATE, trained, state.params)
        same_trees(
            [a for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(grads), strict=True) if np.abs(b).max() > 0],
            moved,
            2e-4,
        )
        assert all(
            (a == 0).all()
            for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(grads), strict=True)
            if np.abs(b).max() == 0
        )
        np.testing.assert_allclose(logged["loss"], loss, rtol=1e-5)
        np.testing.assert_allclose(logged["token_probability"], sure, rtol=1e-4)
        np.testing.assert_allclose(logged["grad_norm"], optax.global_norm(grads), rtol=1e-4)
        assert logged["num_tokens"] == answers[1].sum() == 14 and state.step == 1
    return grads


def test_an_adapter_is_trained_in_any_number_of_micro_batches(
    update, world, quickly, toy, monkeypatch, same_trees, answers
):
    """Its text linears, and the audio tower's, through which the gradient goes on."""
    monkeypatch.setattr(sft, "group_logprobs", toy)
    check(update, world, quickly, same_trees, answers, toy, world.adapter(1, "q_proj", "audio.fc1"), world.base, [1, 4])


def test_the_policy_learns_its_answers(update, world, quickly, plainly, answers):
    """The loss is that of answers alone, all weights that are used move, and the answers become likely."""
    batch, start = in_micro_batches(world, answers, 2), create_state(world.base, SGD)
    (state, logged), (other, logged_too) = (
        update(start, {}, batch),
        update(start, {}, batch.replace(tokens=np.where(batch.mask, batch.tokens, 13))),
    )
    np.testing.assert_allclose(
        logged["loss"], quickly(cross_entropy(world, plainly, answers, {}))(world.base)[0], rtol=1e-5
    )
    assert logged["loss"] == logged_too["loss"]  # what stands after an answer does not matter
    for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(other.params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    moved = jax.tree.map(lambda before, after: bool((before != after).any()), world.base, state.params)
    moved["audio"].pop("bos_eos")  # used by nobody
    assert all(jax.tree.leaves([moved["text"], moved["audio"]]))
    assert not any(jax.tree.leaves(moved["vision"]))  # nobody shows a picture here
    first = logged["loss"]
    for _ in range(20):
        state, logged = update(state, {}, batch)
    assert logged["loss"] < 0.5 * first and logged["token_probability"] > 0.3


def test_what_is_trained(world):
    adapter = world.adapter(1)
    assert split_trained(adapter, world.base) == (world.base, adapter)
    assert split_trained(world.base, {}) == (world.base, None)
