import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from emsa_jax.policy import decoder
from emsa_jax.policy.lora import with_whole
from emsa_jax.rollout import sampler
from emsa_jax.rollout.hints import loss_mask
from emsa_jax.rollout.rollout_options import HintOptions, MeasuredSampling, SamplingOptions
from emsa_jax.rollout.sampler import EVALUATION, HINT, PREFIX, ROLLOUT

FORCED = np.array([[5, 6, 7], [8, 9, 10], [11, 1, 12], [5, 6, 7]])  # the third row's hint holds the end token
HINTED = np.array([3, 0, 3, 2])
WARM = SamplingOptions(temperature=1.3)


def slots_of(world, value):
    """bool [N, G, C]: slots before `value` [N, G]."""
    return np.arange(world.slots) < value[..., None]


@pytest.fixture(scope="module")
def warm(world):
    return world.sample(WARM, group_size=4, forced=FORCED, forced_length=HINTED)


# ---- log-probabilities ----


@pytest.mark.parametrize(
    "options, reported",
    [
        (WARM, None),
        (MeasuredSampling(temperature=0.7, top_k=9, top_p=0.9, min_p=0.02), None),
        (SamplingOptions(temperature=1.6), 0.9),
        (SamplingOptions(temperature=0.0), None),
        (MeasuredSampling(min_new_tokens=5, suppress_tokens=(4, 9)), None),
    ],
    ids=lambda v: str(v)[:60],
)
def test_logprobs_are_the_learners(world, options, reported):
    done = world.sample(options, forced=FORCED, forced_length=HINTED, logp_temperature=reported)
    temperature = reported or options.temperature or 1.0  # greedy answers have those of the plain distribution
    learned = world.learner_logprobs(done.tokens, temperature)
    within = slots_of(world, done.length)
    np.testing.assert_allclose(done.logps[within], learned[within], atol=1e-4)
    assert (done.logps[~within] == 0).all() and (learned[within] < 0).all()
    plain = special.log_softmax(world.logits(done.tokens) / temperature, axis=-1)
    plain = np.take_along_axis(plain, done.tokens[..., None], -1)[..., 0]
    np.testing.assert_allclose(done.logps[within], plain[within], atol=1e-4)


def test_what_is_trained_whole_stands_in_the_place_of_the_base(world):
    """In prefill, in decoding and in the learner: as a base that holds it, to the bit."""
    norm = {"text": {"norm": {"weight": 1.5 * world.params["text"]["norm"]["weight"]}}}
    layers = {"layers": {"input_norm": {"weight": 0.7 * world.params["text"]["layers"]["input_norm"]["weight"]}}}
    whole = {"text": norm["text"] | layers}
    ours = dataclasses.replace(world, adapter=world.adapter.replace(whole=whole))
    theirs = dataclasses.replace(world, params=with_whole(world.params, ours.adapter))
    a, b, plain = ours.sample(WARM), theirs.sample(WARM), world.sample(WARM)
    np.testing.assert_array_equal(a.tokens, b.tokens)
    np.testing.assert_allclose(a.logps, b.logps, atol=1e-5)
    assert np.abs(a.logps - plain.logps).max() > 1e-2
    learned, base = ours.learner_logprobs(a.tokens, 1.3), theirs.learner_logprobs(a.tokens, 1.3)
    np.testing.assert_allclose(learned, base, atol=1e-5)


def test_a_hint_starts_every_answer_of_its_prompt_and_nothing_else(world, warm):
    for n, (ids, length) in enumerate(zip(FORCED, HINTED, strict=True)):
        assert (warm.tokens[n, :, :length] == ids[:length]).all()
        assert (warm.forced[n] == length).all()
    assert len(set(warm.tokens[1, :, 0].tolist())) > 1
    assert len(set(warm.tokens[3, :, 2].tolist())) > 1


# ---- distribution ----


def fits(counts, probabilities):
    """Chi-square test at 1e-4 of counts against probabilities; nothing may fall where the probability is 0."""
    possible = probabilities > 0
    assert counts[~possible].sum() == 0
    expected = counts.sum() * probabilities[possible]
    seldom = expected < 5  # too few for the approximation: taken together
    seen = np.append(counts[possible][~seldom], counts[possible][seldom].sum())
    expected = np.append(expected[~seldom], expected[seldom].sum())
    statistic = ((seen - expected) ** 2 / np.maximum(expected, 1e-9)).sum()
    return statistic < stats.chi2.ppf(1 - 1e-4, len(seen) - 1)


@pytest.mark.parametrize(
    "options",
    [
        SamplingOptions(temperature=1.3),
        MeasuredSampling(top_k=5),
        SamplingOptions(top_p=0.8),
        MeasuredSampling(min_p=0.2),
        MeasuredSampling(temperature=0.8, top_k=14, top_p=0.93, min_p=0.15),
    ],
    ids=str,
)
def test_frequencies_follow_the_distribution(world, options):
    draws = 3000
    done = world.sample(options, group_size=draws, slots=2, noise=(3, 5, ROLLOUT))
    first = np.zeros((world.rows, 1, 2), np.int32)
    for n, expected in enumerate(expected_probabilities(world.logits(first)[:, 0, 0], options)):
        assert fits(np.bincount(done.tokens[n, :, 0], minlength=24), expected)
    favourite = np.array([np.argmax(np.bincount(row[row != 1], minlength=24)) for row in done.tokens[:, :, 0]])
    first[:, 0, 0] = favourite
    for n, expected in enumerate(expected_probabilities(world.logits(first)[:, 0, 1], options)):
        after = done.tokens[n, done.tokens[n, :, 0] == favourite[n], 1]
        assert len(after) > 150 and fits(np.bincount(after, minlength=24), expected)


def expected_probabilities(logits, options):
    """Plain NumPy: top-k, then the smallest set of mass top_p, then min_p, each of what the one before left."""
    result = []
    for row in special.softmax(logits.astype(np.float64) / options.temperature, axis=-1):
        order = np.argsort(-row)
        if options.top_k:
            row[order[options.top_k :]] = 0
        row = row / row.sum()
        if options.top_p < 1:
            needed = np.searchsorted(np.cumsum(row[order]), options.top_p) + 1
            row[order[needed:]] = 0
        row[row < options.min_p * row.max()] = 0
        result.append(row / row.sum())
    return np.array(result)


@pytest.mark.parametrize("greedy", [False, True])
def test_what_may_not_be_drawn_is_not_drawn(world, greedy):
    options = MeasuredSampling(temperature=0.0 if greedy else 1.6, min_new_tokens=7, suppress_tokens=(4, 11, 23))
    done = world.sample(options, group_size=8)
    free = world.sample(dataclasses.replace(options, min_new_tokens=0, suppress_tokens=()), group_size=8)
    assert not np.isin(done.tokens, (4, 11, 23)).any() and np.isin(free.tokens, (4, 11, 23)).any()
    assert (done.length[done.ended] > 7).all()
    assert greedy or done.ended.any() and free.length.min() <= 7


def test_greedy_is_argmax_of_the_whole_forward(world):
    done = world.sample(SamplingOptions(temperature=0.0), noise=(0, 1, EVALUATION))
    within = slots_of(world, done.length)
    best = world.logits(done.tokens).argmax(-1)
    assert (done.tokens[within] == best[within]).all()
    assert (done.tokens == done.tokens[:, :1]).all()
    assert len(np.unique(done.tokens[:, 0], axis=0)) > 1


# ---- ends ----


def test_the_end_token_is_the_last_that_counts(world, warm):
    kinds = set()
    mask = loss_mask(warm, HintOptions())
    for n, g in np.ndindex(*warm.length.shape):
        tokens, length, given = warm.tokens[n, g], warm.length[n, g], HINTED[n]
        ends = [t for t in np.flatnonzero(tokens == 1) if t >= given]
        assert bool(ends) == warm.ended[n, g]
        assert length == (ends[0] + 1 if ends else world.slots)
        assert (tokens[length:] == 0).all()
        assert mask[n, g].tolist() == [given <= t < length for t in range(world.slots)]
        assert not ends or mask[n, g, ends[0]]
        kinds.add(bool(ends))
    assert kinds == {True, False}


def test_limits_and_forced_tokens_at_the_edge(world):
    forced = np.tile(np.arange(4, 19), (4, 1))  # 15 tokens for 12 slots
    forced[1, 1] = 1
    done = world.sample(WARM, forced=forced, forced_length=[15, 3, 5, 0], limit=[12, 12, 3, 1])
    assert (done.tokens[0] == np.arange(4, 16)).all() and (done.length[0] == 12).all() and not done.ended[0].any()
    assert (done.tokens[1, :, :3] == [4, 1, 6]).all() and (done.length[1] > 3).all()
    assert (done.tokens[2, :, :3] == [4, 5, 6]).all() and (done.tokens[2, :, 3:] == 0).all()
    assert (done.length[2] == 3).all() and not done.ended[2].any()
    assert (done.length[3] == 1).all() and (done.tokens[3, :, 1:] == 0).all()
    assert (done.ended[3] == (done.tokens[3, :, 0] == 1)).all()
    mask = loss_mask(done, HintOptions())
    assert not mask[0].any() and not mask[2].any() and mask[1].any() and mask[3].sum() == 4


def test_padding_that_looks_like_the_end_is_no_end(world):
    same = dataclasses.replace(world, config=dataclasses.replace(world.config, pad_token_id=1))
    done, expected = (w.sample(WARM, limit=[4, 12, 2, 1], state=world.state) for w in (same, world))
    assert (done.length == expected.length).all() and (done.ended == expected.ended).all()
    assert not done.ended.all() and (done.logps == expected.logps).all()


@pytest.mark.parametrize("end, cases", [(0, [(0, 12, 1), (3, 12, 4)]), (5, [(0, 2, 2), (0, 12, 12)])])
def test_the_loop_stops_when_all_have_ended(even, monkeypatch, end, cases):
    """All tokens alike, the greedy choice is token 0: the end, or never the end. (forced, limit, steps taken)"""
    taken = []

    def counting(*arguments, **caches):
        jax.debug.callback(lambda: taken.append(1))
        return decode_step(*arguments, **caches)

    decode_step = decoder.decode_step
    monkeypatch.setattr(sampler.decoder, "decode_step", counting)
    ending = dataclasses.replace(even, config=dataclasses.replace(even.config, eos_token_id=end, pad_token_id=2))
    for forced, limit, steps in cases:
        taken.clear()
        done = ending.sample(
            SamplingOptions(temperature=0.0),
            2,
            forced=np.full((4, 3), 9),
            forced_length=[forced] * 4,
            limit=[limit] * 4,
            state=even.state,
        )
        jax.effects_barrier()
        assert len(taken) == steps
        assert (done.length == steps).all() and (done.ended == (end == 0)).all()
        assert (done.tokens[:, :, steps:] == 2).all()


@pytest.mark.parametrize(
    "first, sizes, place",
    [(1, (1, 2, 3, 6, 12), "cpu"), (5, (3, 6, 12), "cpu"), (12, (12,), "cpu"), (5, (3, 6, 12), "tpu")],
)
def test_a_cache_that_grows_changes_nothing(world, warm, monkeypatch, first, sizes, place):
    monkeypatch.setattr(sampler, "FIRST_CACHE", first)
    monkeypatch.setattr(sampler.decoder, "platform", lambda: place)
    assert sampler.cache_sizes(12) == sizes
    grown = world.sample(WARM, group_size=4, forced=FORCED, forced_length=HINTED)
    for name in ("tokens", "length", "ended"):
        assert (getattr(grown, name) == getattr(warm, name)).all()
    np.testing.assert_allclose(grown.logps, warm.logps, atol=1e-5)


# ---- noise ----


def test_no_two_of_seed_step_use_prompt_and_answer_share_noise(even):
    drawn = np.concatenate(
        [
            even.sample(noise=(seed, step, use)).tokens.reshape(-1, even.slots)
            for seed in (0, 1, 2)
            for step in range(4)
            for use in (ROLLOUT, HINT, PREFIX, EVALUATION)
        ]
    )
    assert len(np.unique(drawn, axis=0)) == len(drawn) == 3 * 4 * 4 * 16
    shuffled = np.random.default_rng(0).permutation(drawn)
    assert abs((drawn == shuffled).mean() - 1 / 24) < 0.01  # single tokens agree by chance only
    assert abs((drawn[:, 1:] == drawn[:, :-1]).mean() - 1 / 24) < 0.01
    assert stats.chisquare(np.bincount(drawn.ravel(), minlength=24)).pvalue > 1e-3


def test_the_same_noise_draws_the_same_answers(world):
    one, two, other = (world.sample(WARM, noise=(4, step, ROLLOUT)) for step in (7, 7, 8))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        assert (a == b).all()
    assert (one.tokens != other.tokens).any(-1).all()


def test_groups_are_diverse(world):
    tokens = world.sample(WARM, noise=(4, 7, ROLLOUT)).tokens
    assert all(len(np.unique(group, axis=0)) == len(group) for group in tokens)
    same = world.state.take(jnp.zeros(4, jnp.int32))  # equal prompts under four ids
    tokens = world.sample(WARM, state=same).tokens
    assert len(np.unique(tokens.reshape(16, -1), axis=0)) == 16


def test_answers_do_not_depend_on_the_batch(world):
    """Rows in another order, fewer of them, fewer answers, fewer slots: each row's tokens stay."""
    limit, forced = np.array([12, 9, 12, 10]), np.tile([5, 6, 7], (4, 1))
    lengths = np.array([0, 2, 3, 0])
    whole = world.sample(WARM, noise=(1, 2, HINT), limit=limit, forced=forced, forced_length=lengths)

    def part(rows, **sizes):
        rows = np.array(rows, np.int32)
        return world.sample(
            WARM,
            noise=(1, 2, HINT),
            state=world.state.take(rows),
            ids=rows,
            forced=forced[rows],
            forced_length=lengths[rows],
            limit=np.minimum(limit[rows], sizes.get("slots", 12)),
            **sizes,
        )

    order = [2, 0, 3, 1]
    moved = part(order)
    for name in ("tokens", "length", "ended", "forced"):
        assert (getattr(moved, name) == getattr(whole, name)[order]).all(), name
    np.testing.assert_allclose(moved.logps, whole.logps[order], atol=1e-5)
    fewer = part([3, 1], group_size=2, slots=8)
    assert (fewer.tokens == whole.tokens[[3, 1], :2, :8]).all()
    assert (fewer.length == np.minimum(whole.length[[3, 1], :2], 8)).all()


def test_take_takes_all_of_a_prompt(world):
    rows = np.array([3, 0])
    taken, state = world.state.take(rows), world.state
    assert (taken.cache.k == state.cache.k[:, rows]).all() and (taken.cache.v == state.cache.v[:, rows]).all()
    assert (taken.mask == state.mask[rows]).all() and (taken.last == state.last[rows]).all()
    assert (taken.next_position == state.next_position[:, rows]).all()


def test_every_stop_id_ends_an_answer(world):
    """Answers are those of a policy that never ends, up to the first token of any of its stop ids."""
    endless, several = (
        dataclasses.replace(world, config=dataclasses.replace(world.config, **ids))
        for ids in ({"eos_token_id": -1}, {"other_stop_ids": (5, 9)})
    )
    free, done = (w.sample(WARM, group_size=8, state=world.state) for w in (endless, several))
    ends = set()
    for n, g in np.ndindex(done.length.shape):
        stops = np.flatnonzero(np.isin(free.tokens[n, g], (1, 5, 9)))
        length = stops[0] + 1 if len(stops) else world.slots
        assert done.length[n, g] == length and done.ended[n, g] == bool(len(stops))
        assert (done.tokens[n, g, :length] == free.tokens[n, g, :length]).all() and not done.logps[n, g, length:].any()
        ends.update(free.tokens[n, g, stops[:1]].tolist())
    assert {5, 9} <= ends
