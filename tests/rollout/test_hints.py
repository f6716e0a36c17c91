import itertools

import numpy as np
import pytest

from emsa_jax.errors import InputError
from emsa_jax.rollout.hints import bucket_sizes, choose_hinted, compact, loss_mask, splice
from emsa_jax.rollout.rollout_options import HintOptions
from emsa_jax.rollout.sampler import Completions

HARD = np.array([True, False, True, True, False, False, True, True])  # rows 0, 2, 3, 6, 7


def completions(rows, group, slots=6, first=0, forced=0):
    """Every answer tells where it comes from: token t of answer (n, g) is 100 (n + first) + 10 g + t."""
    n, g, t = np.ogrid[:rows, :group, :slots]
    tokens = (100 * (n + first) + 10 * g + t).astype(np.int32)
    length = np.broadcast_to((n[..., 0] + g[..., 0]) % slots + 1, (rows, group)).astype(np.int32)
    return Completions(
        tokens, -tokens.astype(np.float32), length, length % 2 == 0, np.full((rows, group), forced, np.int32)
    )


# ---- which groups ----


def test_all_hard_groups_are_hinted_and_no_other():
    assert choose_hinted(HARD, HintOptions()).tolist() == [0, 2, 3, 6, 7]
    assert choose_hinted(~HARD & HARD, HintOptions()).shape == (0,)
    for mode in ("off", "drop_hard"):
        assert choose_hinted(HARD, HintOptions(mode=mode)).shape == (0,)


# ---- compiled sizes ----


@pytest.mark.parametrize("prompts, sizes", [(64, (16, 64)), (3, (1, 3)), (1, (1,))])
def test_buckets_rise_and_hold_every_prompt(prompts, sizes):
    assert bucket_sizes(prompts) == sizes


def test_buckets_are_those_of_one_shard():
    assert bucket_sizes(64, 4) == (4, 16)
    assert bucket_sizes(4, 4) == (1,)


def test_rows_fill_the_smallest_bucket_that_holds_them():
    for count in range(1, 9):
        rows = np.arange(8 - count, 8)
        (padded,) = compact(rows, 8, 1, (2, 4, 8))
        assert len(padded) == min(size for size in (2, 4, 8) if size >= count)
        assert padded.dtype == np.int32
        assert padded[:count].tolist() == rows.tolist() and (padded[count:] == rows[0]).all()


@pytest.mark.parametrize(
    "rows, packed",
    [
        ([12, 13, 15], [[0, 0, 0, 0]] * 3 + [[0, 1, 3, 0]]),  # all on one shard
        (list(range(16)), [[0, 1, 2, 3]] * 4),  # all there are
        ([1, 6, 9], [[1], [2], [1], [0]]),
    ],
)  # one on some
def test_prompts_stay_in_their_shard(rows, packed):
    """As large a bucket on all shards as the fullest needs; rows count from the shard's own first."""
    assert compact(np.array(rows), 16, 4, (1, 2, 4)).tolist() == packed


# ---- what takes whose place ----


@pytest.mark.parametrize("replace, count", [("all", 4), (1, 1), (3, 3)])
def test_hinted_answers_take_the_last_places(replace, count):
    options = HintOptions(replace=replace)
    assert options.num_hinted(4) == count
    original, hinted = completions(5, 4), completions(4, count, first=50, forced=2)  # two rows and two to fill up
    rows = np.array([3, 1])
    final = splice(original, hinted, rows)
    for name in ("tokens", "logps", "length", "ended", "forced"):
        before, given, after = (getattr(c, name) for c in (original, hinted, final))
        assert after.dtype == before.dtype
        for n, g in itertools.product(range(5), range(4)):
            told = n in rows and g >= 4 - count
            expected = given[list(rows).index(n), g - (4 - count)] if told else before[n, g]
            assert (after[n, g] == expected).all(), (name, n, g)
    assert original.tokens[3, 3, 0] == 330 and final.tokens[3, 3, 0] >= 5000  # a new one: the original stays


@pytest.mark.parametrize("on_hint", [False, True])
def test_loss_mask(on_hint):
    length, forced = np.array([[3, 6, 2, 1, 4]]), np.array([[0, 2, 4, 0, 4]])  # cut within the hint; at its end
    done = Completions(np.zeros((1, 5, 6), np.int32), None, length, None, forced)
    mask = loss_mask(done, HintOptions(loss_on_hint=on_hint, replace=2))
    assert mask.dtype == bool
    first = np.zeros_like(forced) if on_hint else forced
    for g in range(5):
        assert mask[0, g].tolist() == [first[0, g] <= t < length[0, g] for t in range(6)]


# ---- what is refused ----


@pytest.mark.parametrize(
    "options, text",
    [
        ({"polarity_nll": -0.1}, "polarity_nll"),
        ({"polarity_nll": float("nan")}, "polarity_nll"),
        ({"temperature": 0.0}, "temperature"),
        ({"trigger_fraction": 1.5}, "trigger_fraction"),
        ({"replace": -1}, "replace"),
    ],
)
def test_options_that_cannot_be(options, text):
    with pytest.raises(InputError, match=rf"hint\..*{text}"):
        HintOptions(**options)


def test_how_many_are_replaced():
    for replace in ("all", 1, 3):
        HintOptions(replace=replace).check(4, 0.04)
    with pytest.raises(InputError, match=r"hint\.replace must be 'all' or between 1 and 3"):
        HintOptions(replace=4).check(4, 0.04)
    with pytest.raises(InputError, match=r"hint\.replace must be at least 1, not 0"):
        HintOptions(replace=0)


def test_forced_tokens_in_the_loss_need_others_beside_them_or_no_kl():
    """All answers alike up to there: the policy gradient on these tokens is zero, only the KL would act."""
    refused = HintOptions(loss_on_hint=True)
    with pytest.raises(InputError, match="loss_on_hint.*polarity_nll"):
        refused.check(4, 0.04)
    refused.check(4, 0.0)
    HintOptions(loss_on_hint=True, replace=2).check(4, 0.04)
    HintOptions(loss_on_hint=False).check(4, 0.04)
    HintOptions(loss_on_hint=True, mode="off").check(4, 0.04)
