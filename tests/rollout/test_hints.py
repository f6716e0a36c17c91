import itertools
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest

from emsa_jax.answers.answer_options import ConceptOptions
from emsa_jax.answers.formats import make_format
from emsa_jax.answers.labels import POLARITIES
from emsa_jax.data.records import Entry
from emsa_jax.errors import InputError
from emsa_jax.parallel.batch_sharding import BatchSharding
from emsa_jax.policy.checkpoint import open_checkpoint
from emsa_jax.policy.tiny import make_tiny
from emsa_jax.rewards.trigger import Trigger
from emsa_jax.rollout.hints import Hints, apply_hints, choose_hinted, compact, loss_mask, redraw_sizes
from emsa_jax.rollout.prompted_data import Split
from emsa_jax.rollout.prompts import Prompter, answer_ids, answer_text
from emsa_jax.rollout.rollout_options import HintOptions, PromptOptions
from emsa_jax.rollout.sampler import Completions
from emsa_jax.settings.config import Config
from emsa_jax.settings.presets import cd_grpo, cd_grpo_hint

CONCEPTS = (("expression", "sad"), ("speaking_style", "Informational Interaction"), ("tone", "casual"))
ENTRIES = [
    Entry(str(i), "words", score, "train", language, 0, 0, 0, 0.0, 0, concepts=concepts)
    for i, (score, language, concepts) in enumerate(
        [
            (-0.8, "en", CONCEPTS),
            (0.2, "zh", CONCEPTS),
            (None, "en", CONCEPTS),
            (0.4, "en", CONCEPTS[:1]),
            (-0.8, "en", CONCEPTS),
        ]
    )
]
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
    assert redraw_sizes(prompts) == sizes


def test_buckets_are_those_of_one_shard():
    assert redraw_sizes(64, 4) == (4, 16)
    assert redraw_sizes(4, 4) == (1,)


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


@pytest.mark.parametrize("hard", [[], [1], [5, 4, 2], [0, 1, 2, 3], list(range(8))])
def test_each_process_asks_its_hard_groups_again(hard):
    """Two processes with two shards of two prompts each: every hard prompt gets answers to itself, with its hint."""
    ids = np.arange(9, dtype=np.int32)[:, None] + 100  # the hint of clip n begins with token 100 + n
    hints = Hints(
        options=HintOptions(),
        format=None,
        level="",
        ids=ids,
        lengths=np.ones(9, np.int32),
        labels=ids > 0,
        rows={},
        prompts=8,
        sizes=(1, 2),
        slots=10,
    )
    every = np.isin(np.arange(8), hard)
    asked = []
    for group in range(2):
        sharding = BatchSharding(num_shards=4, group=group, groups=2, leaders=(0, 1))
        clips = list(range(4 * group, 4 * group + 4))
        with (
            mock.patch.object(Hints, "_rows", lambda self, clips: clips),
            mock.patch.object(BatchSharding, "all_gather", lambda self, local, what: every),
        ):
            found = hints.redraw(clips, every[clips], sharding)
        if not hard:
            assert found is None
            continue
        rows, forced, lengths, limit = found.arguments
        assert rows.shape == (2 * found.size,) and rows.dtype == limit.dtype == np.int32 and (lengths == 1).all()
        assert (limit == 10).all()
        shard = np.repeat([0, 1], found.size)
        drawn = 4 * group + 2 * shard + rows  # the prompt that each new row of answers is to
        assert (forced[:, 0] == 100 + drawn).all()
        assert drawn[found.source].tolist() == [4 * group + row for row in found.rows]
        asked += drawn[found.source].tolist()
    assert asked == sorted(hard)


# ---- which answers are replaced ----


@pytest.mark.parametrize("replace, count", [("all", 4), (1, 1), (3, 3)])
def test_hinted_answers_take_the_last_places(replace, count):
    options = HintOptions(replace=replace)
    assert options.num_hinted(4) == count
    original, hinted = completions(5, 4), completions(4, count, first=50, forced=2)  # two rows and two to fill up
    rows = np.array([3, 1])
    final = apply_hints(original, hinted, rows)
    for name in ("tokens", "logps", "length", "ended", "forced"):
        before, given, after = (getattr(c, name) for c in (original, hinted, final))
        assert after.dtype == before.dtype
        for n, g in itertools.product(range(5), range(4)):
            hinted_here = n in rows and g >= 4 - count
            expected = given[list(rows).index(n), g - (4 - count)] if hinted_here else before[n, g]
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
    for number in ("all", 1, 3):
        HintOptions(replace=number).check(4, 0.04)
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


# ---- what is forced, by answer format ----


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tiny") / "policy"
    format = make_format("concepts", (-1, 1), concepts=ConceptOptions(5))
    truths = [format.truth(replace(entry, score=entry.score or 0.0)) for entry in ENTRIES]
    texts = [format.example(truth, level) for truth in truths for level in format.levels]
    make_tiny(directory, texts * 3, seed=0, vocab_size=420)
    return open_checkpoint(directory, weights=False)


def hints_of(checkpoint, config):
    format = make_format(config.format, (-1, 1), concepts=config.concepts)
    prompter = Prompter(checkpoint, format, PromptOptions())
    hints = Hints.of(
        config.hint,
        checkpoint,
        Split(None, prompter, ENTRIES, None, None, None),
        max_completion_length=config.sampling.max_completion_length,
        prompts=config.grpo.prompts_per_step,
    )
    return hints, format


@pytest.mark.parametrize("level", ["sentiment", "sentiment+concepts"])
def test_each_clip_is_hinted_at_its_truth(checkpoint, level):
    config = cd_grpo_hint()
    config = replace(config, hint=replace(config.hint, levels=level), concepts=ConceptOptions(5))
    hints, format = hints_of(checkpoint, config)
    assert len(hints.rows) == 3  # equal truths share a row
    assert Trigger.of(config.hint, config.reward, format).limit == 1.0
    ids, lengths = hints.forced(ENTRIES)
    assert lengths[2] == 0 and lengths.dtype == ids.dtype == np.int32
    for entry, row, length in zip(ENTRIES, ids, lengths, strict=True):
        if entry.score is not None:
            truth = format.truth(entry)
            assert answer_text(checkpoint, row[:length], ended=False) == format.hint(truth, level)
            assert answer_ids(checkpoint, format.example(truth, level), end=False)[:length] == row[:length].tolist()
    shapes = hints.forced_like(len(ENTRIES))
    assert [a.shape for a in shapes] == [a.shape for a in (ids, lengths)]


def test_without_hints_nothing_is_forced(checkpoint):
    hints, _ = hints_of(checkpoint, cd_grpo())
    ids, lengths = hints.forced(ENTRIES)
    assert not lengths.any() and ids.shape == (5, 1)


def test_dc_answers_begin_with_their_polarity(checkpoint):
    config = Config(policy="", data="")
    hints, format = hints_of(checkpoint, config)
    ids, lengths = hints.forced(ENTRIES)
    for entry, row, length in zip(ENTRIES, ids, lengths, strict=True):
        if entry.score is not None:
            polarity = POLARITIES[0] if entry.score > 0 else POLARITIES[2]
            hint = answer_text(checkpoint, row[:length], ended=False)
            assert hint == format.hint(format.truth(entry), "polarity") and polarity in hint
    assert lengths[2] == 0 and Trigger.of(config.hint, config.reward, format).limit == 2.0


def test_a_hint_that_leaves_no_room_is_refused(checkpoint):
    config = cd_grpo_hint()
    config = replace(config, sampling=replace(config.sampling, max_completion_length=8))
    with pytest.raises(InputError, match="a hint alone has"):
        hints_of(checkpoint, config)
