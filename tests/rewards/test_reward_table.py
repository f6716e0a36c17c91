"""Batches of rewards, plug-ins, and the trigger of the hint."""

import numpy as np
import pytest

from emsa_jax.answers.dc import DC
from emsa_jax.answers.label_only import LabelOnly
from emsa_jax.errors import InputError
from emsa_jax.rewards.plugins import load_plugins
from emsa_jax.rewards.reward_options import RewardOptions
from emsa_jax.rewards.reward_table import batch_rewards
from emsa_jax.rewards.trigger import hard_groups, threshold, trigger_metric
from emsa_jax.rollout.rollout_options import HintOptions

FORMAT = DC((-1, 1))
RIGHT, WRONG = FORMAT.write("Positive", "good", 0.6), FORMAT.write("Negative", "bad", -0.4)
TORN = FORMAT.write("Positive", "torn", -0.4)
SAMPLES = [{"id": "a", "score": 0.6, "text": "hey"}, {"id": "b", "score": None}]


def test_the_table():
    table = batch_rewards([[RIGHT, WRONG, "junk"], [RIGHT, TORN, ""]], SAMPLES, FORMAT, RewardOptions())
    assert list(table.parts) == ["format", "polarity", "score"]
    np.testing.assert_array_equal(table.parts["format"], [[1, 1, 0], [1, 1, 0]])
    np.testing.assert_array_equal(table.parts["polarity"], [[1, 0, 0], [np.nan] * 3])
    np.testing.assert_allclose(table.parts["score"], [[1, 0.5, 0], [np.nan] * 3])
    np.testing.assert_allclose(table.total, [[3, 1.5, 0], [1, 1, 0]])
    np.testing.assert_array_equal(table.well_formed, table.parts["format"] == 1)
    np.testing.assert_array_equal(table.contradict, [[False] * 3, [False, True, False]])
    assert table.parsed[0][0].think == "good"


def test_what_a_cut_off_answer_earns():
    """A complete answer that goes on in white space until it is cut off."""
    cut, texts = np.array([[True, False]]), [[RIGHT, RIGHT]]
    table = batch_rewards(texts, SAMPLES[:1], FORMAT, RewardOptions(truncated="zero"), truncated=cut)
    np.testing.assert_array_equal(table.total, [[0, 3]])
    table = batch_rewards(texts, SAMPLES[:1], FORMAT, RewardOptions(), truncated=cut)
    np.testing.assert_array_equal(table.total, [[3, 3]])
    options = RewardOptions(truncated="zero", consistency="penalty")  # no way out of a penalty either
    table = batch_rewards([[TORN, TORN]], SAMPLES[:1], FORMAT, options, truncated=cut)
    np.testing.assert_allclose(table.total[0], [-1, table.total[0, 1]])
    np.testing.assert_array_equal(batch_rewards(texts, SAMPLES[1:], FORMAT, options, truncated=cut).total, [[0, 1]])
    with pytest.raises(InputError, match=r"reward.truncated: 'half' is none of keep, zero"):
        RewardOptions(truncated="half")


def test_label_only_and_no_prompts():
    table = batch_rewards([["0.6", "-0.4 or so"]], SAMPLES[:1], LabelOnly(), RewardOptions())
    np.testing.assert_array_equal(table.total, [[3, 0]])
    assert batch_rewards([], [], FORMAT, RewardOptions()).total.shape == (0, 0)


def test_polarity_that_was_given_need_not_be_paid():
    given = np.array([[True, False]])
    options = RewardOptions()
    table = batch_rewards([[RIGHT, RIGHT]], SAMPLES[:1], FORMAT, options, uncounted_polarity=given)
    np.testing.assert_array_equal(table.total, [[2, 3]])


def test_plugins(tmp_path, monkeypatch):
    (tmp_path / "my_rewards.py").write_text(
        "def heard(text, parsed, sample): return None if 'text' not in sample else len(sample['text']) / 2\n"
        "def broken(text, parsed, sample): return 1 / 0\n"
        "def wild(text, parsed, sample): return float('inf')\n"
        "number = 3\n"
        "def score(text, parsed, sample): return 1\n"
        "def huge(text, parsed, sample): return -1e300\n"
        "def word(text, parsed, sample): return '0.5'\n"
        "def leaves(text, parsed, sample): raise SystemExit(0)\n"
        "def greedy(text, parsed, sample): sample['score'] = 0.0\n"
    )
    (tmp_path / "no_good.py").write_text("raise RuntimeError('on purpose')")
    (tmp_path / "no_end.py").write_text("raise SystemExit(0)")
    monkeypatch.syspath_prepend(tmp_path)
    specs = ("my_rewards:heard",)
    options = RewardOptions({"heard": 2.0}, plugins=specs)
    table = batch_rewards([[RIGHT], [RIGHT]], SAMPLES, FORMAT, options, load_plugins(specs))
    np.testing.assert_array_equal(table.parts["heard"], [[1.5], [np.nan]])
    np.testing.assert_array_equal(table.total, [[6], [1]])

    failures = {
        "broken": "'broken' on sample 'a' failed: ZeroDivisionError",
        "wild": "returned inf",
        "huge": "at most 1e",
        "word": "the text '0.5', not a number",
        "leaves": "SystemExit",
        "greedy": "'greedy' on sample 'a' failed: TypeError",
    }
    for name, message in failures.items():
        with pytest.raises(InputError, match=message):
            batch_rewards([[RIGHT]], SAMPLES[:1], FORMAT, options, load_plugins([f"my_rewards:{name}"]))
    for bad in ("my_rewards", "my_rewards:", ":f", "my_rewards:absent", "my_rewards:number",
                "no_such_module:f", "no_good:f", "no_end:f", "my_rewards:score", "my_rewards:a b"):  # fmt: skip
        with pytest.raises(InputError) as error:
            load_plugins([bad])
        assert f"reward.plugins: {bad!r}" in str(error.value)
    with pytest.raises(InputError, match="already"):
        load_plugins(specs * 2)


def hard(texts, truncated=None, samples=SAMPLES[:1], rewards=None, **options):
    rewards, options = rewards or RewardOptions(), HintOptions(**options)
    table = batch_rewards(texts, samples, FORMAT, rewards)
    metric = trigger_metric(table, truncated, options)
    return hard_groups(metric, threshold(options, rewards), options.trigger_fraction).tolist()


def test_a_group_is_hard_when_all_its_polarities_are_wrong():
    for metric in ("total", "polarity"):
        assert hard([[WRONG, WRONG]], metric=metric) == [True]
        assert hard([[WRONG, RIGHT]], metric=metric) == [False]
        assert hard([[WRONG, TORN]], metric=metric) == [False]  # right polarity, whatever the score


def test_the_automatic_threshold_follows_the_weights():
    rewards = RewardOptions({"format": 0.1, "polarity": 0.2, "score": 0.3})
    far = FORMAT.write("Positive", "far", -1.0)
    assert threshold(HintOptions(), rewards) == pytest.approx(0.3)
    assert hard([[far, far]], samples=[{"id": "a", "score": 1.0}], rewards=rewards) == [False]
    assert hard([[WRONG, WRONG]], rewards=rewards) == [True]


def test_threshold_fraction_and_part():
    assert hard([[RIGHT, RIGHT]], threshold=3.1) == [True]
    assert hard([[WRONG, RIGHT]], trigger_fraction=0.5) == [True]
    assert hard([[RIGHT, RIGHT, WRONG]], trigger_fraction=0.5) == [False]
    assert hard([[WRONG, WRONG]], metric="score", threshold=0.5) == [False]
    assert hard([["", WRONG]], metric="format", threshold=1) == [False]


def test_a_truncated_answer_counts_as_nothing():
    truncated = np.array([[True, False]])
    assert hard([[RIGHT, WRONG]], truncated) == [True]
    assert hard([[RIGHT, WRONG]], truncated, metric="polarity") == [True]
    assert hard([[RIGHT, WRONG]], truncated, truncated_as_fail=False) == [False]


def test_a_clip_without_a_true_score_is_never_hard():
    assert hard([["", ""]], np.ones((1, 2), bool), samples=SAMPLES[1:]) == [False]


@pytest.mark.parametrize(
    ("change", "message"),
    [({"threshold": "high"}, "hint.threshold"), ({"threshold": float("nan")}, "hint.threshold"),
     ({"metric": "score"}, "hint.threshold"), ({"trigger_fraction": 0}, "hint.trigger_fraction")],
)  # fmt: skip
def test_bad_trigger_options_are_named(change, message):
    with pytest.raises(InputError, match=message):
        HintOptions(**change)
    with pytest.raises(InputError, match="hint.metric"):
        hard([[RIGHT]], metric="charm", threshold=1)
