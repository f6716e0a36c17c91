"""Batches of rewards, and plug-ins."""

import numpy as np
import pytest

from emsa_jax.answers.dc import DC
from emsa_jax.answers.formats import make_format
from emsa_jax.answers.label_only import LabelOnly
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError
from emsa_jax.rewards.plugins import load_plugins
from emsa_jax.rewards.reward_options import RewardOptions
from emsa_jax.rewards.score_answers import AnswerScorer

FORMAT = DC((-1, 1))
RIGHT, WRONG = FORMAT.write("Positive", "good", 0.6), FORMAT.write("Negative", "bad", -0.4)
TORN = FORMAT.write("Positive", "torn", -0.4)
CLIPS = [Sample("a", "hey", 0.6, "train"), Sample("b", "", None, "train")]


def scored(texts, clips=CLIPS, options=None, ended=None, unpaid=None, format=FORMAT, **rest):
    return AnswerScorer(format=format, options=options or RewardOptions(), **rest)(clips, texts, ended, unpaid)


def test_the_table():
    table = scored([[RIGHT, WRONG, "junk"], [RIGHT, TORN, ""]])
    assert list(table.parts) == ["format", "polarity", "score"]
    np.testing.assert_array_equal(table.parts["format"], [[1, 1, 0], [1, 1, 0]])
    np.testing.assert_array_equal(table.parts["polarity"], [[1, 0, 0], [np.nan] * 3])
    np.testing.assert_allclose(table.parts["score"], [[1, 0.5, 0], [np.nan] * 3])
    np.testing.assert_allclose(table.total, [[3, 1.5, 0], [1, 1, 0]])
    np.testing.assert_array_equal(table.well_formed, table.parts["format"] == 1)
    np.testing.assert_array_equal(table.contradict, [[False] * 3, [False, True, False]])
    assert table.parsed[0][0].think == "good"


def test_expected_scores_are_paid_for_in_place_of_written_ones():
    expected = np.array([[0.1, np.nan, 0.5], [0.3, 0.3, np.nan]])
    table = AnswerScorer(format=FORMAT)(CLIPS, [[RIGHT, WRONG, RIGHT], [RIGHT, TORN, ""]], expected=expected)
    np.testing.assert_allclose(table.parts["score"], [[0.75, 0.5, 0.95], [np.nan] * 3])
    np.testing.assert_allclose(table.total[0], [2.75, 1.5, 2.95])
    assert [answer.score for answer in table.parsed[0]] == [0.6, -0.4, 0.6]  # what is written stays what is read
    assert table.contradict.tolist() == [[False] * 3, [False, True, False]]
    alone = LabelOnly((-1.0, 1.0))  # whose polarity is that of the nearest score of the grid
    paid = AnswerScorer(format=alone, options=RewardOptions(score_gate="polarity"))
    assert paid(CLIPS[:1], [["0.6"] * 2], expected=np.array([[0.04, 0.06]])).parts["score"].tolist() == [[0.0, 0.73]]


def test_what_a_cut_off_answer_earns():
    """A complete answer that goes on in white space until it is cut off."""
    ended, texts = np.array([[False, True]]), [[RIGHT, RIGHT]]
    table = scored(texts, CLIPS[:1], RewardOptions(truncated="zero"), ended)
    np.testing.assert_array_equal(table.total, [[0, 3]])
    table = scored(texts, CLIPS[:1], ended=ended)
    np.testing.assert_array_equal(table.total, [[3, 3]])
    options = RewardOptions(truncated="zero", consistency="penalty")  # no way out of a penalty either
    table = scored([[TORN, TORN]], CLIPS[:1], options, ended)
    np.testing.assert_allclose(table.total[0], [-1, table.total[0, 1]])
    np.testing.assert_array_equal(scored(texts, CLIPS[1:], options, ended).total, [[0, 1]])
    with pytest.raises(InputError, match=r"reward.truncated: 'half' is none of keep, zero"):
        RewardOptions(truncated="half")


def test_label_only_and_no_prompts():
    table = scored([["0.6", "-0.4 or so"]], CLIPS[:1], format=LabelOnly())
    np.testing.assert_array_equal(table.total, [[3, 0]])
    assert scored([], []).total.shape == (0, 0)


def test_polarity_that_was_given_need_not_be_paid():
    table = scored([[RIGHT, RIGHT]], CLIPS[:1], unpaid=np.array([[True, False]]), given=FORMAT.given_parts("polarity"))
    np.testing.assert_array_equal(table.total, [[2, 3]])


def test_plugins(tmp_path, monkeypatch):
    (tmp_path / "my_rewards.py").write_text(
        "def heard(text, parsed, sample): return len(sample['text']) / 2 if sample['text'] else None\n"
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
    table = scored([[RIGHT], [RIGHT]], options=options, plugins=load_plugins(specs))
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
            scored([[RIGHT]], CLIPS[:1], options, plugins=load_plugins([f"my_rewards:{name}"]))
    for bad in (
        "my_rewards",
        "my_rewards:",
        ":f",
        "my_rewards:absent",
        "my_rewards:number",
        "no_such_module:f",
        "no_good:f",
        "no_end:f",
        "my_rewards:score",
        "my_rewards:a b",
    ):
        with pytest.raises(InputError) as error:
            load_plugins([bad])
        assert f"reward.plugins: {bad!r}" in str(error.value)
    with pytest.raises(InputError, match="already"):
        load_plugins(specs * 2)


def test_scoring_knows_what_was_given_and_how_frequent_classes_are():
    format, concepts, scores = make_format("concepts", (-1, 1)), (("tone", "casual"),), (-0.8, 0.2, None, 0.4, -0.8)
    clips = [Sample(str(i), "", score, "train", concepts=concepts) for i, score in enumerate(scores)]
    answer = format.example(format.truth(clips[0]), "sentiment+concepts")
    score_answers = AnswerScorer.of(format, RewardOptions(class_balance="inverse"), clips, "sentiment+concepts")
    table = score_answers(clips[:1], [[answer, answer]], unpaid=np.array([[True, False]]))
    weight = 4 / (3 * 2)  # two of four labelled clips are negative
    np.testing.assert_allclose(table.total, [[1, 1 + weight + 1]])
