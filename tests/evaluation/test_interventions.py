"""Edits of a reasoning change what they are to change, and nothing else."""

import pytest

from emsa_jax.answers.claims import read_claims
from emsa_jax.evaluation.interventions import clauses, cuts, filler, settles, turned

EN = "1. words: awful. 2. face: clear smile. 3. voice: rising, fast. 4. face and voice decide."
ZH = "1. 文字：太糟了。2. 表情：明显微笑。3. 声音：上升，快。4. 以表情和声音为准。"


@pytest.mark.parametrize("think", [EN, ZH])
def test_a_reasoning_has_clauses(think):
    said = clauses(think)
    assert len(said) == 4 and said[0].startswith("1. ") and said[3].startswith("4. ")
    assert read_claims(" ".join(said)) == read_claims(think)
    assert cuts(think)[0] == said[0] and read_claims(cuts(think)[-1]) == read_claims(think)
    assert clauses("") == [] and cuts("") == [] and clauses("so") == ["so"]


@pytest.mark.parametrize(("think", "language"), [(EN, "en"), (ZH, "zh")])
@pytest.mark.parametrize(("about", "sign"), [("words", "positive"), ("face", "negative"), ("voice", "negative")])
def test_one_clause_is_turned_round(think, language, about, sign):
    edited, claimed = turned(think, about, language)
    assert claimed == sign
    before, after = read_claims(think), read_claims(edited)
    assert after.sign(about) == sign != before.sign(about)
    assert after.stated - {(about, sign)} == before.stated - {(about, before.sign(about))}
    assert len(clauses(edited)) == 4


def test_what_cannot_be_turned_round():
    assert turned("face: level mouth.", "face") is None
    assert turned("words: good.", "face") is None
    assert turned("The face and the voice are happy.", "face") is None  # the clause is not of the face alone
    assert turned("face: smile, frown.", "face") is None


@pytest.mark.parametrize(("think", "language"), [(EN, "en"), (ZH, "zh")])
def test_filler_says_nothing_at_the_same_length(think, language):
    text = filler(think, language)
    assert read_claims(text).stated == frozenset()
    assert abs(len(text) - len(think)) <= 10


def test_where_a_score_settles():
    assert settles([0.5, 0.5, 0.5], 0.1) == 0.0
    assert settles([0.0, 0.5, 0.52], 0.1) == 0.5
    assert settles([0.5, 0.0, 0.5], 0.1) == 1.0
    assert settles([0.0, 0.1, 0.2, 0.9], 0.1) == 1.0
    assert settles([0.3], 0.1) is None
