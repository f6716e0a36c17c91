"""The rewards of answers that name a class and concepts."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from emsa_jax.answers.class_only import ClassOnly
from emsa_jax.answers.concepts import Concepts
from emsa_jax.answers.labels import SENTIMENTS
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError
from emsa_jax.rewards.parts import accuracy_reward, reward_parts
from emsa_jax.rewards.reward_options import RewardOptions
from emsa_jax.rewards.score_answers import AnswerScorer, class_balance

FORMAT = Concepts(5)
TRUE = {"expression": "happy", "speaking_style": "Informational Interaction", "tone": "casual"}
CLIP = Sample("a", "", 0.4, "train", concepts=tuple(TRUE.items()))


def answer(sentiment=0.4, **concepts):
    return FORMAT.write("", f"so {' '.join(FORMAT.marks(TRUE | concepts))}", sentiment)


def clip(concepts=(), score=0.4):
    return replace(CLIP, concepts=tuple(concepts), score=score)


def parts(text, clip=CLIP, **options):
    options = RewardOptions(**options)
    return reward_parts(FORMAT.parse(text), FORMAT.truth(clip), FORMAT, options, options.consistency == "penalty")


def scored(texts, clips=(CLIP,), options=None, unpaid=None, format=FORMAT, **rest):
    return AnswerScorer(format=format, options=options or RewardOptions(), **rest)(clips, texts, unpaid=unpaid)


def test_equations_3_and_4():
    assert parts(answer()) == {"format": 1, "accuracy": 1, "concept": 1}
    assert parts(answer(-0.4, tone="sad")) == {"format": 1, "accuracy": 0, "concept": pytest.approx(2 / 3)}
    assert parts(answer(0.4, tone="sad", expression="sad")) == {
        "format": 1,
        "accuracy": 1,
        "concept": pytest.approx(1 / 3),
    }
    assert parts("") == {"format": 0, "accuracy": 0, "concept": 0}
    torn = parts(answer().replace("</think>", "</think> and"))  # form is one part, truth are the others
    assert torn == {"format": 0, "accuracy": 1, "concept": 1}
    table = scored([[answer(), answer(0.4, tone="sad"), ""]])
    np.testing.assert_allclose(table.total, [[3, 2 + 2 / 3, 0]])


def test_concepts_that_are_not_known_of_a_clip_do_not_count():
    some = clip([("tone", "sad"), ("expression", "happy"), ("scenario", "vlogs")])
    assert parts(answer(), some)["concept"] == 0.5
    assert parts(answer(), clip())["concept"] is None
    assert parts(answer(), clip(score=None)) == {"format": 1, "accuracy": None, "concept": None}
    table = scored([[answer()]], [clip()])
    assert table.total[0, 0] == 2 and np.isnan(table.parts["concept"][0, 0])


def test_partial_credit_goes_to_neighbours_alone():
    classes = SENTIMENTS[5]
    paid = [[accuracy_reward(said, true, classes, 0.5) for said in classes] for true in classes]
    np.testing.assert_array_equal(paid, np.eye(5) + 0.5 * (np.eye(5, k=1) + np.eye(5, k=-1)))
    assert accuracy_reward(None, "Neutral", classes, 0.5) == 0
    assert parts(answer(0.8))["accuracy"] == 0 and parts(answer(0.8), partial_credit=0.25)["accuracy"] == 0.25


def test_concept_weights():
    assert parts(answer(tone="sad"), concept_weights={"tone": 2.0})["concept"] == 0.5
    assert parts(answer(tone="sad"), concept_weights={"tone": 0.0})["concept"] == 1
    assert parts(answer(), concept_weights=dict.fromkeys(TRUE, 0.0))["concept"] is None


def test_balanced_classes_weigh_as_scikit_learn_says():
    labels = ["Neutral"] * 6 + ["Positive"] * 3 + ["Negative"]
    balance = class_balance(labels, 3)
    names = sorted(set(labels))
    expected = compute_class_weight("balanced", classes=np.array(names), y=labels)
    np.testing.assert_allclose([balance[name] for name in names], expected)
    table = scored(
        [[answer(), answer(-0.4)]], options=RewardOptions({"accuracy": 2.0}), balance={"Weakly Positive": 0.25}
    )
    np.testing.assert_allclose(table.total, [[2.5, 2]])
    np.testing.assert_array_equal(table.parts["accuracy"], [[1, 0]])  # logged as it is
    with pytest.raises(InputError, match="reward.class_balance"):
        class_balance([], 3)


def test_what_was_given_is_not_paid_for():
    unpaid = np.array([[True, False]])
    table = scored([[answer()] * 2], unpaid=unpaid, given=FORMAT.given_parts("sentiment+concepts"))
    np.testing.assert_array_equal(table.total, [[1, 3]])
    table = scored([[answer()] * 2], unpaid=unpaid, given=FORMAT.given_parts("sentiment"))
    np.testing.assert_array_equal(table.total, [[2, 3]])


def test_consistency_and_contradiction():
    both = answer().replace("so", "so <tone>sad</tone>")
    twice = answer() + "<sentiment>Neutral</sentiment>"
    assert [parts(text, consistency="penalty")["consistency"] for text in (answer(), both, twice, "")] == [0, -1, -1, 0]
    table = scored([[answer(), both, twice]])
    np.testing.assert_array_equal(table.contradict, [[False, True, True]])


def test_a_bare_class_has_no_part_for_concepts():
    format = ClassOnly(5)
    table = scored([["Weakly Positive", "Positive", "junk"]], format=format)
    assert list(table.parts) == ["format", "accuracy"]
    np.testing.assert_array_equal(table.total, [[2, 1, 0]])


def test_plugins_see_concepts_and_need_not_apply():
    def free(text, parsed, sample):
        return None if not sample["concepts"] else float(dict(parsed.concepts)["tone"] == "casual")

    table = scored([[answer()]] * 2, [CLIP, clip()], plugins={"free": free})
    np.testing.assert_array_equal(table.parts["free"], [[1], [np.nan]])


def test_unknown_labels_name_the_clip():
    with pytest.raises(InputError, match="clip 'a': tone 'grim' is none of"):
        scored([[answer()]], [clip([("tone", "grim")])])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"partial_credit": 1.0}, "reward.partial_credit"),
        ({"class_balance": "sqrt"}, "reward.class_balance: 'sqrt'"),
        ({"concept_weights": {"tone": -1}}, "reward.concept_weights.tone"),
    ],
)
def test_bad_options_are_named(change, message):
    with pytest.raises(InputError, match=message):
        RewardOptions(**change)
