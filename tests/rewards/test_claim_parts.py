"""True claims are paid for, and nothing that a policy might write instead of them is."""

from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

from emsa_jax.answers.dc import DC
from emsa_jax.rewards.claim_parts import contradicts_given, cues, evidence
from emsa_jax.rewards.reward_options import RewardOptions
from emsa_jax.rewards.score_answers import AnswerScorer
from emsa_jax.rewards.trigger import Trigger
from emsa_jax.rollout.rollout_options import HintOptions

FORMAT = DC((-1.0, 1.0))
ALL = ("text", "audio", "video")
PAID = RewardOptions({"evidence": 1.0, "cues": 1.0})
WORD = {1: "good", 0: "ordinary", -1: "awful"}
LIPS = {1: "clear smile", 0: "level mouth", -1: "clear frown"}
TONE = {1: "rising, fast", 0: "steady, even", -1: "falling, slow"}
POLARITY = {1: "Positive", 0: "Neutral", -1: "Negative"}


def clip(words, face, voice, score):
    concepts = (("label_T", f"{words}"), ("label_V", f"{face}"), ("label_A", f"{voice}"))
    return SimpleNamespace(
        id="a", text="so", score=score, concepts=concepts, language="en", frames=np.zeros(1), mel=np.zeros(1)
    )


SARCASTIC = clip(1, -1, -1, -0.6)


def says(words, face, voice, end):
    return f"1. words: {WORD[words]}. 2. face: {LIPS[face]}. 3. voice: {TONE[voice]}. 4. {end}."


def answer(polarity, think, score):
    return FORMAT.write(POLARITY[polarity], think, score)


def parts(think, polarity=-1, of=SARCASTIC, shown=ALL):
    parsed, truth = FORMAT.parse(answer(polarity, think, polarity * 0.6)), FORMAT.truth(of)
    return evidence(parsed, truth, shown), cues(parsed, truth, shown)


def test_true_claims_that_support_a_right_answer_earn_all():
    assert parts(says(1, -1, -1, "face and voice decide")) == (1.0, 1.0)


def test_what_lies_and_gaps_cost():
    assert parts(says(1, -1, -1, "all agree")) == (0.5, 0.5)  # agreement that its own claims deny
    assert parts(says(-1, -1, -1, "all agree")) == (1.0, 0.0)  # it supports the answer, and is made up
    assert parts(says(1, 1, 1, "all agree")) == (0.0, -0.5)
    assert parts("1. words: good. 2. face: clear frown.") == (0.0, 0.5)
    assert parts("2. face: clear frown. 3. voice: falling.") == (0.0, 0.5)  # it owes the words
    assert parts("Nothing is known.") == (0.0, 0.0)
    assert parts(says(1, -1, -1, "on the whole")) == (1.0, 0.75)


def test_evidence_for_a_wrong_answer_is_not_paid():
    assert parts(says(1, -1, -1, "the words decide"), polarity=1) == (0.0, 1.0)


def test_modalities_that_were_not_shown_cost():
    assert parts("1. words: good.", polarity=1, of=clip(1, 1, 1, 0.6), shown=("text",)) == (1.0, 1.0)
    assert parts(says(1, 1, 1, "all agree"), 1, clip(1, 1, 1, 0.6), ("text",)) == (0.0, -1.0)


def test_they_do_not_apply_where_nothing_is_known():
    unlabelled = SimpleNamespace(id="a", text="so", score=None, concepts=(), language="en")
    parsed = FORMAT.parse(answer(-1, says(-1, -1, -1, "all agree"), -0.6))
    assert cues(parsed, FORMAT.truth(unlabelled), ALL) is None
    assert evidence(parsed, None, ALL) == 1.0
    assert cues(parsed, FORMAT.truth(SimpleNamespace(**{**vars(unlabelled), "score": 0.5})), ALL) is None


def test_they_are_in_the_total_once_they_weigh_something():
    text = answer(-1, says(1, -1, -1, "face and voice decide"), -0.6)
    plain = AnswerScorer(format=FORMAT)([SARCASTIC], [[text]])
    paid = AnswerScorer(format=FORMAT, options=PAID)([SARCASTIC], [[text]])
    assert set(paid.parts) - set(plain.parts) == {"evidence", "cues"}
    np.testing.assert_allclose((plain.total, paid.total), ([[3.0]], [[5.0]]))
    unseen = AnswerScorer(format=FORMAT, options=PAID, modalities=("text",))([SARCASTIC], [[text]])
    assert unseen.parts["evidence"][0, 0] == -1.0  # face and voice were not put before the policy


def test_true_claims_do_not_make_a_group_easy():
    wrong = answer(1, says(1, -1, -1, "face and voice decide"), 0.6)
    table = AnswerScorer(format=FORMAT, options=PAID)([SARCASTIC], [[wrong]])
    assert table.total[0, 0] > 2.0
    assert Trigger.of(HintOptions(), PAID, FORMAT).hard(table).tolist() == [True]


@pytest.mark.parametrize(
    ("think", "earned"),
    [(says(1, 1, 1, "all agree"), 1.0), (says(1, -1, -1, "face and voice decide"), 3.0), ("So.", 3.0)],
)
def test_hinted_answers_that_deny_what_they_were_given_earn_their_form_alone(think, earned):
    given = answer(-1, think, -0.6)
    scorer = AnswerScorer.of(FORMAT, RewardOptions(gate_hinted=True), hint_level="polarity")
    assert scorer([SARCASTIC], [[given]], hinted=np.array([[True]])).total[0, 0] == earned
    assert scorer([SARCASTIC], [[given]], hinted=np.array([[False]])).total[0, 0] == 3.0
    ungated = replace(scorer, options=RewardOptions())
    assert ungated([SARCASTIC], [[given]], hinted=np.array([[True]])).total[0, 0] == 3.0
    assert contradicts_given(FORMAT.parse(given), "Negative") == (earned == 1.0)


ABOUT = ("words", "face", "voice")
ENDS = ("all agree", "the words decide", "face and voice decide")
ZH = {1: "积极，微笑，上升", 0: "中性，平静，平稳", -1: "消极，皱眉，下降"}


def attacks(words, face, voice, wrong):
    """Reasonings that try to earn what true claims earn, by family; each knows the truth, and what answer it serves."""
    true, lie = says(words, face, voice, "all agree"), says(wrong, wrong, wrong, "all agree")
    signs = ("positive", "neutral", "negative")
    every = " ".join(f"words: {WORD[s]}. face: {LIPS[s]}. voice: {TONE[s]}." for s in (1, 0, -1))
    pairs = ((1, -1), (-1, 1), (0, 1), (0, -1))
    mixed = list(product((words, wrong), (face, wrong), (voice, wrong)))
    maybe = (true, lie, "all agree.", "They may or may not agree.")
    return {
        "nothing": [
            "So.",
            "1. 2. 3. 4.",
            "The clip.",
            "words. face. voice.",
            "No comment.",
            "结论。",
            "all.",
            "a" * 300,
        ],
        "everything": [
            every,
            f"{every} all agree. face and voice decide.",
            "; ".join(f"{about} {', '.join(signs)}" for about in ABOUT),
            " ".join(f"All three are {sign}." for sign in signs),
            " ".join(says(s, s, s, "all agree") for s in (1, -1, 0)),
            "Smile, frown, level mouth; rising, falling, steady; good, awful, ordinary words.",
        ],
        "both signs": [
            f"words: {WORD[a]}, {WORD[b]}. face: {LIPS[a]}, {LIPS[b]}. voice: {TONE[a]}, {TONE[b]}. {end}."
            for (a, b), end in product(pairs, (*ENDS, "they agree and contradict"))
        ],
        "hedges": [
            f"The {about} could be positive or could be negative. {rest}"
            for about, rest in product((*ABOUT, "words, face and voice"), maybe)
        ],
        "repeats": [" ".join([text] * n) for text, n in product((true, lie, *maybe[2:]), (2, 5, 40))],
        "other language": [
            f"文字：{ZH[a]}。表情：{ZH[b]}。声音：{ZH[c]}。{end}"
            for (a, b, c), end in product(mixed[1:], ("三者一致。", "以文字为准。", "互相矛盾。"))
        ],
        "lies": [says(a, b, c, end) for (a, b, c), end in product(mixed[1:], ENDS)],
        "pleading": [
            f"{true} The true claims: positive, negative.",
            f"{lie} This is true of the clip.",
            "evidence: 1, cues: 1.",
            f"Not {lie}",
            f"It is false that {true}",
            "words face voice agreement yes no",
            lie.replace(":", " is not"),
            true.replace("1.", "<b>1.</b>"),
        ],
    }


CLIPS = [(1, 1, 1, 1), (-1, -1, -1, -1), (0, 0, 0, 0), (1, -1, -1, -1), (-1, 1, 1, 1), (1, 0, 0, 0)]
WEIGHTS = [
    {"evidence": 1.0, "cues": 1.0},
    {"evidence": 3.0, "cues": 0.5},
    {"evidence": 0.0, "cues": 2.0},
    {"evidence": 2.0, "cues": 0.0},
]


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
@pytest.mark.parametrize(("words", "face", "voice", "truth"), CLIPS)
def test_no_attack_earns_more_than_an_honest_wrong_answer(words, face, voice, truth, weights):
    of, scorer = clip(words, face, voice, truth * 0.6), AnswerScorer(format=FORMAT, options=RewardOptions(weights))
    for wrong in {1, 0, -1} - {truth}:
        agree = len({words, face, voice}) == 1
        honest = answer(wrong, says(words, face, voice, "all agree" if agree else "face and voice decide"), wrong * 0.6)
        tries = [text for family in attacks(words, face, voice, wrong).values() for text in family]
        assert len(tries) >= 100
        best = scorer([of], [[honest]]).total[0, 0]
        earned = scorer([of], [[answer(wrong, text, wrong * 0.6) for text in tries]]).total[0]
        assert earned.max() <= best + 1e-9, tries[int(earned.argmax())]
