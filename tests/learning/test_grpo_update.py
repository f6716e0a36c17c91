import dataclasses
import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from emsa_jax.learning import grpo_update as grpo
from emsa_jax.learning.grpo_update import GrpoBatch
from emsa_jax.learning.learning_options import LossOptions
from emsa_jax.learning.losses import entropy_threshold, policy_loss
from emsa_jax.learning.packing import pack_rows
from emsa_jax.learning.state import create_state
from emsa_jax.policy.thinker import encode_prompts
from emsa_jax.rollout.hints import loss_mask
from emsa_jax.rollout.rollout_options import HintOptions
from emsa_jax.rollout.sampler import Completions

N, G, C, K = 4, 3, 7, 2  # prompts, answers, slots, forced tokens
TEMPERATURE, LENGTH = 0.9, 9
SGD = optax.sgd(1.0)  # the step is the gradient


@dataclass(frozen=True)
class Case:
    """A way to learn. `old`: the sampling policy is another one."""

    options: LossOptions
    micro_batches: int = 1
    old: bool = False
    nll: float = 0.0


GRPO = Case(LossOptions("grpo", 0.1), 2, old=True)
DAPO = Case(LossOptions("dapo", 0.0), 2)
NLL = Case(LossOptions("dapo", 0.2, kl_on_zero_std_groups=False), 4, nll=0.3)
CASES = [
    Case(LossOptions("grpo", 0.0)),
    Case(LossOptions("grpo", 0.1), 4, old=True),
    Case(LossOptions("dapo", 0.0), 4, old=True),
    NLL,
    Case(LossOptions("seq_sum", 0.0), 1, old=True),
    Case(LossOptions("seq_sum", 0.05, top_entropy_quantile=0.63), 4),
    Case(LossOptions("dr_grpo", 0.1, importance="sequence"), 2, old=True),
]


def completions(seed=0):
    """Answers that end and answers that are cut off; the second prompt's all forced, the last one's last."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(4, 17, (N, G, C)).astype(np.int32)
    length = np.array([[7, 4, 2], [5, 7, 3], [1, 6, 7], [7, 7, 4]], np.int32)
    ended = length < 7
    ended[0, 0] = True
    np.put_along_axis(tokens, length[..., None] - 1, np.where(ended, 1, 9)[..., None], -1)
    tokens[np.arange(C) >= length[..., None]] = 0
    forced = np.array([[0, 0, 0], [K, K, K], [0, 0, 0], [0, 0, K]], np.int32)
    tokens[1, :, :K] = tokens[3, 2, :K] = [5, 6]
    return Completions(tokens, np.zeros((N, G, C), np.float32), length, ended, forced)


@pytest.fixture(scope="module")
def learner(world, plainly, quickly):
    """With the decoder."""
    return Learner(world, plainly, quickly)


@pytest.fixture(scope="module")
def toy_learner(world, toy, quickly):
    """With the toy in its place; to be used `with_toy`."""
    return Learner(world, toy, quickly, "q_proj")


@pytest.fixture
def with_toy(monkeypatch, toy):
    monkeypatch.setattr(grpo, "group_logprobs", toy)


class Learner:
    """grpo_update and its reference, each program compiled once."""

    def __init__(self, world, plainly, quickly, *targets):
        self.world, self.quickly, self.adapter = world, quickly, world.adapter(1, *targets)

        def logprobs(adapter, tokens):
            return plainly(world.base, adapter, world.config, world.prompts, tokens, TEMPERATURE)

        self.plain = quickly(logprobs)
        self.pull = quickly(
            lambda adapter, tokens, cotangent: jax.vjp(lambda a: logprobs(a, tokens)[0], adapter)[1](cotangent)[0]
        )
        self.nll_tokens = np.tile(np.array([[5, 6]], np.int32), (N, 1))
        self.nll_mask = np.array([[1, 1], [0, 0], [1, 0], [1, 1]], bool)
        self.done = completions()
        self.reference = self.logprobs(world.adapter(2, *targets), self.done.tokens)[0][:, :G]
        self.sampled = self.logprobs(self.adapter, self.done.tokens)[0][:, :G]

    def with_polarity(self, tokens):
        """[N, G + 1, C]: the true polarity as one more answer."""
        return np.concatenate([tokens, np.pad(self.nll_tokens, ((0, 0), (0, C - K)))[:, None]], axis=1)

    def logprobs(self, adapter, tokens):
        """(log-probabilities, entropies) of `with_polarity(tokens)`."""
        return jax.device_get(self.plain(adapter, self.with_polarity(tokens)))

    def batch(self, case, **changes) -> GrpoBatch:
        """Random advantages (one group without spread), weights and a nearby sampling policy."""
        rng = np.random.default_rng(5)
        advantages = rng.standard_normal((N, G)).astype(np.float32)
        advantages = advantages - advantages.mean(1, keepdims=True)
        advantages[2] = 0
        mask = loss_mask(self.done, HintOptions())
        old = self.sampled + 0.2 * rng.standard_normal(self.sampled.shape).astype(np.float32)
        weights = rng.uniform(0.5, 1.5, (N, G)).astype(np.float32)
        threshold = None
        if case.options.top_entropy_quantile < 1:
            entropies = self.logprobs(self.adapter, self.done.tokens)[1][:, :G]
            threshold = entropy_threshold(entropies.reshape(N * G, C), mask.reshape(N * G, C), case.options)
        batch = GrpoBatch(
            tokens=self.done.tokens,
            mask=mask,
            sampler_logps=self.sampled,
            old_logps=old if case.old else None,
            ref_logps=self.reference if case.options.beta else None,
            advantages=advantages,
            weights=weights,
            counted=np.ones((N, G), bool),
            zero_std=np.arange(N)[:, None].repeat(G, 1) == 2,
            nll_tokens=self.nll_tokens if case.nll else None,
            nll_mask=self.nll_mask if case.nll else None,
            threshold=threshold,
        )
        return batch.replace(**changes)

    @functools.cache  # noqa: B019
    def _program(self, case):
        return self.quickly(
            functools.partial(
                grpo.grpo_update,
                config=self.world.config,
                options=case.options,
                optimizer=SGD,
                temperature=TEMPERATURE,
                max_completion_length=LENGTH,
                nll_weight=case.nll,
                micro_batches=case.micro_batches,
            )
        )

    def update(self, case, batch):
        """(gradients, metrics) of grpo_update."""
        state = create_state(self.adapter, SGD)
        state, logged = self._program(case)(state, self.world.base, self.world.prompts, self.world.inputs, batch)
        assert state.step == 1
        return jax.tree.map(lambda old, new: np.asarray(old - new), self.adapter, state.params), logged

    def expected(self, case, batch):
        """(gradients, loss, metrics): `policy_loss` of the answers that count, as if there were no others."""
        logps, entropies = self.logprobs(self.adapter, batch.tokens)
        counted = batch.counted.reshape(-1)

        def pick(t):
            return None if t is None else jnp.asarray(t.reshape(N * G, *t.shape[2:])[counted])

        def loss(logps):
            value, logged = policy_loss(
                pick(logps[:, :G]),
                pick(batch.old_logps),
                pick(batch.ref_logps),
                pick(batch.advantages),
                pick(batch.mask),
                case.options,
                LENGTH,
                weights=pick(batch.weights),
                entropies=pick(entropies[:, :G]),
                zero_std=pick(batch.zero_std),
            )
            nll_logps = logps[:, G, :K]
            return value - case.nll * jnp.where(self.nll_mask, nll_logps, 0).sum() / N, logged

        (value, logged), cotangent = jax.value_and_grad(loss, has_aux=True)(jnp.asarray(logps))
        return self.pull(self.adapter, self.with_polarity(batch.tokens), cotangent), value, logged


def check_equal(learner, case, same_trees):
    batch = learner.batch(case)
    grads, logged = learner.update(case, batch)
    expected, loss, metrics = learner.expected(case, batch)
    same_trees(grads, expected)
    np.testing.assert_allclose(logged["loss"], loss, rtol=1e-5, atol=1e-6)
    for key in metrics.keys() - {"loss"}:
        np.testing.assert_allclose(logged[key], metrics[key], rtol=1e-4, atol=1e-6, err_msg=key)
    np.testing.assert_allclose(logged["grad_norm"], optax.global_norm(expected), rtol=1e-4)
    if case.old and case.options.importance == "token":
        assert logged["clip_ratio/region_mean"] > 0


def test_equals_every_pair_on_its_own(learner, same_trees):
    """Loss, metrics and gradients of the policy, with hints and weights, in micro-batches."""
    check_equal(learner, GRPO, same_trees)


@pytest.mark.parametrize("case", [GRPO, NLL], ids=["grpo", "nll"])
def test_packed_answers_teach_the_same(learner, same_trees, case):
    packing = pack_rows(learner.done.length, C, (2, 3))
    batch = learner.batch(case)
    grads, logged = learner.update(case, batch)
    packed, packed_logged = learner.update(case, batch.replace(packing=packing))
    assert packing.source.shape == (N, 3, C) and (np.asarray(packing.segment[:, 2]) < 0).any()
    same_trees(packed, grads)
    for name, value in logged.items():
        np.testing.assert_allclose(packed_logged[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.options.kind}-{c.options.beta}-{c.micro_batches}-{c.old}")
def test_every_loss_in_any_number_of_micro_batches(toy_learner, with_toy, same_trees, case):
    check_equal(toy_learner, case, same_trees)


def test_micro_batches_make_no_difference(toy_learner, with_toy, same_trees):
    cases = [Case(LossOptions("grpo", 0.1), m, old=True) for m in (1, 2, 4)]
    (one, logged), *others = [toy_learner.update(case, toy_learner.batch(case)) for case in cases]
    for grads, values in others:
        same_trees(grads, one, 1e-5)
        assert values.keys() == logged.keys()
        for name, value in logged.items():
            np.testing.assert_allclose(values[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_how_far_sampler_and_learner_are_apart_is_told(learner):
    batch = learner.batch(GRPO)
    _, logged = learner.update(GRPO, batch)
    assert logged["sampling/logp_difference_max"] < 1e-5
    off = np.array(batch.sampler_logps)
    off[3, 1, 6] += 0.25
    off[0, 2, 5] += 9.0  # after the end
    _, logged = learner.update(GRPO, batch.replace(sampler_logps=off))
    np.testing.assert_allclose(logged["sampling/logp_difference_max"], 0.25, atol=1e-5)
    signed = np.zeros((N, G))
    signed[3, 1] = 0.25
    np.testing.assert_allclose(logged["sampling/signed_gap"], signed, atol=1e-5)


@pytest.mark.parametrize("case", CASES[1:3], ids=["grpo", "dapo"])
def test_answers_that_do_not_count_change_nothing(toy_learner, with_toy, same_trees, case):
    learner = toy_learner
    counted = np.ones((N, G), bool)
    counted[1], counted[3, 0] = False, False
    batch = learner.batch(case, counted=counted)
    grads, logged = learner.update(case, batch)
    expected, loss, metrics = learner.expected(case, batch)
    same_trees(grads, expected)
    np.testing.assert_allclose(logged["loss"], loss, rtol=1e-5, atol=1e-6)
    for name in metrics.keys() & {"kl", "entropy", "clip_ratio/low_mean", "clip_ratio/high_mean"}:
        np.testing.assert_allclose(logged[name], metrics[name], rtol=1e-4, err_msg=name)
    out = ~counted
    junk = batch.replace(
        tokens=np.where(out[..., None], 11, batch.tokens),
        advantages=np.where(out, np.float32(50), batch.advantages),
        mask=batch.mask | out[..., None],
        weights=np.where(out, np.float32(7), batch.weights),
    )
    other, logged_too = learner.update(case, junk)
    same_trees(other, grads, 1e-6)
    assert logged_too["loss"] == logged["loss"]


def test_when_no_answer_counts_nothing_is_learned(learner):
    grads, logged = learner.update(GRPO, learner.batch(GRPO, counted=np.zeros((N, G), bool)))
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(grads))
    assert logged["loss"] == 0 and np.isfinite(logged["kl"])


def test_polarity_nll_adds_its_own_gradient(toy_learner, with_toy, same_trees):
    learner = toy_learner
    batch = learner.batch(NLL)
    grads, logged = learner.update(NLL, batch)
    without, loss, _ = learner.expected(dataclasses.replace(NLL, nll=0.0), batch)
    cotangent = np.zeros((N, G + 1, C), np.float32)
    cotangent[:, G, :K] = -0.3 / N * learner.nll_mask
    own = learner.pull(learner.adapter, learner.with_polarity(batch.tokens), cotangent)
    same_trees(jax.tree.map(np.subtract, grads, without), own)
    logps, _ = learner.logprobs(learner.adapter, batch.tokens)
    nll = -0.3 * logps[:, G, :K][learner.nll_mask].sum() / N
    np.testing.assert_allclose(logged["hint/polarity_nll"], nll, rtol=1e-5)
    np.testing.assert_allclose(logged["loss"] - loss, nll, rtol=1e-4)


def test_the_end_token_is_trained(learner):
    """A better answer's end becomes likelier."""
    done = learner.done
    ends = (done.tokens == 1) & loss_mask(done, HintOptions())
    assert ends.sum() == done.ended.sum() == 8
    batch = learner.batch(GRPO, mask=ends, advantages=np.ones((N, G), np.float32), old_logps=learner.sampled)
    grads, _ = learner.update(GRPO, batch)
    stepped = jax.tree.map(lambda p, g: p - 0.05 * g, learner.adapter, grads)
    after, _ = learner.logprobs(stepped, done.tokens)
    assert (after[:, :G] - learner.sampled)[ends].mean() > 1e-3


def test_a_group_that_shares_its_hint_teaches_nothing_about_it(toy_learner, with_toy, same_trees):
    """All answers replaced, forced tokens in the loss, no KL: their gradients cancel, as advantages sum to zero."""
    learner = toy_learner
    done = learner.done.replace(
        tokens=learner.done.tokens.copy(),
        forced=np.full((N, G), K, np.int32),
        length=np.maximum(learner.done.length, K + 1),
    )
    done.tokens[:, :, :K] = [5, 6]
    counts, masked = (loss_mask(done, HintOptions(loss_on_hint=on)) for on in (True, False))
    assert (counts & ~masked).sum() == N * G * K
    same = {"tokens": done.tokens, "weights": np.ones((N, G), np.float32)}

    def gradients(**changes):
        return learner.update(DAPO, learner.batch(DAPO, **same, **changes))[0]

    alone = gradients(mask=counts & ~masked)
    rewarded = gradients(mask=counts & ~masked, advantages=np.ones((N, G), np.float32))
    for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(rewarded), strict=True):
        assert np.abs(a).max() < 1e-6 < 1e-3 < np.abs(b).max()
    with_hint = jax.tree.map(lambda g: g * counts.sum(), gradients(mask=counts))
    same_trees(with_hint, jax.tree.map(lambda g: g * masked.sum(), gradients(mask=masked)))


def test_an_adapter_of_the_towers_is_trained_through_them(world, quickly, same_trees, toy, toy_learner, with_toy):
    case = DAPO
    adapter, batch = world.adapter(3, "q_proj", "audio.fc1"), toy_learner.batch(case)
    update = functools.partial(
        grpo.grpo_update,
        config=world.config,
        options=case.options,
        optimizer=SGD,
        temperature=TEMPERATURE,
        max_completion_length=LENGTH,
        micro_batches=case.micro_batches,
    )
    state, _ = quickly(update)(create_state(adapter, SGD), world.base, world.prompts, world.inputs, batch)
    grads = jax.tree.map(lambda old, new: np.asarray(old - new), adapter, state.params)

    def loss(adapter):
        prompts = encode_prompts(world.base, adapter, world.config, world.inputs)
        logps, _ = toy(world.base, adapter, world.config, prompts, batch.tokens, TEMPERATURE)
        logps, advantages, mask, weights = (
            t.reshape(N * G, *t.shape[2:]) for t in (logps, batch.advantages, batch.mask, batch.weights)
        )
        return policy_loss(logps, None, None, advantages, mask, case.options, LENGTH, weights=weights)[0]

    same_trees(grads, quickly(jax.grad(loss))(adapter))


def test_the_sampling_policy_is_this_one_by_default(toy_learner, with_toy, same_trees):
    """Without old log-probabilities the ratio is 1 and its gradient that of the log-probability."""
    said = Case(LossOptions("seq_sum", 0.0), 1, old=True)
    given, _ = toy_learner.update(said, toy_learner.batch(said, old_logps=toy_learner.sampled))
    left_out = dataclasses.replace(said, old=False)
    same_trees(given, toy_learner.expected(left_out, toy_learner.batch(left_out))[0])
