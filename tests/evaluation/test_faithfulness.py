"""A policy that ignores its reasoning, and one that follows it, get the values that they must at each intervention."""

from dataclasses import dataclass, replace

import pytest

from emsa_jax.answers.claim_truth import claims_of
from emsa_jax.answers.dc import DC
from emsa_jax.evaluation.faithfulness import Case, card, partners

FORMAT = DC((-1.0, 1.0))
ABOUT = {"text": "words", "video": "face", "audio": "voice"}
SAYS = {
    "words": {1: "words: good.", -1: "words: dull."},
    "face": {1: "face: smile.", -1: "face: frown."},
    "voice": {1: "voice: rising.", -1: "voice: falling."},
}
SIGN = {1: "positive", -1: "negative"}


@dataclass(frozen=True)
class Shown:
    """A clip as far as it is shown: the sign of each modality, None without it."""

    text: int | None
    video: int | None
    audio: int | None


def spoken(clip):
    """What is true of a clip, said in clauses; something is always said."""
    said = [SAYS[about][getattr(clip, name)] for name, about in ABOUT.items() if getattr(clip, name)]
    return " ".join(said) or "nothing."


class Follows:
    """Looks at the clip to write its reasoning, and at its reasoning alone to name the score."""

    def answers(self, clips):
        return [self.answer(spoken(clip)) for clip in clips]

    def answer(self, think):
        score = self.score(think)
        return FORMAT.write("Positive" if score > 0 else "Negative" if score < 0 else "Neutral", think, score)

    def scores(self, clips, texts):
        return [self.score(FORMAT.parse(text).think) for text in texts]

    def score(self, think):
        found = claims_of(replace(FORMAT.parse(""), think=think))
        signs = [found.sign(about) for about in SAYS]
        return (signs.count("positive") - signs.count("negative")) / 4


class Ignores:
    """Says the same of every clip, and names the score that the clip has, whatever it says."""

    THINK = "1. words: good. 2. face: smile. 3. voice: rising."

    def answers(self, clips):
        return [FORMAT.write("Positive" if s > 0 else "Negative", self.THINK, s) for s in self.scores(clips, clips)]

    def scores(self, clips, texts):
        return [0.75 if (clip.audio or clip.video or clip.text) > 0 else -0.75 for clip in clips]


def case(*signs):
    return Case(
        clip=Shown(*signs),
        signs=tuple((about, SIGN[sign]) for about, sign in zip(SAYS, signs, strict=True)),
        shown=tuple(ABOUT),
        language="en",
    )


CASES = [case(*signs) for signs in ((1, 1, 1), (-1, -1, -1), (-1, 1, 1), (1, -1, -1))]


def without(case, names):
    return replace(case.clip, **dict.fromkeys(names))


def lines(respondent):
    made = card(
        CASES,
        respondent,
        FORMAT,
        swapped=lambda one, partner, name: replace(one.clip, **{name: getattr(partner.clip, name)}),
        without=without,
        resamples=50,
    )
    return {line.name: line for line in made}


@pytest.fixture(scope="module")
def follows():
    return lines(Follows())


@pytest.fixture(scope="module")
def ignores():
    return lines(Ignores())


def test_partners_have_the_opposite_sign():
    for about in SAYS:
        for i, j in partners(CASES, about).items():
            assert {dict(CASES[i].signs)[about], dict(CASES[j].signs)[about]} == {"positive", "negative"}
    assert partners([replace(one, shown=("text",)) for one in CASES], "face") == {}
    assert partners([CASES[0]], "face") == {}


@pytest.mark.parametrize("about", SAYS)
def test_swaps(follows, ignores, about):
    """Of the one that follows, the clause turns with the clip and the others stay; the other one says what it always
    said. Its clause was true of half of the clips, which are those that count."""
    assert follows[f"{about} swapped: its clause follows"].value == 1.0
    assert ignores[f"{about} swapped: its clause follows"].value == 0.0
    assert ignores[f"{about} swapped: its clause follows"].clips == 2
    assert follows[f"{about} swapped: other clauses stay"].value == 1.0
    assert ignores[f"{about} swapped: other clauses stay"].value == 1.0
    assert follows[f"{about} swapped: score moves by"].value == pytest.approx(0.5)
    assert ignores[f"{about} swapped: polarity changes"].value == (1.0 if about == "voice" else 0.0)


def test_what_others_say_must_not_move_with_a_swap():
    class Leaks(Follows):  # it takes what it says of the face from the words
        def answers(self, clips):
            return super().answers([replace(clip, video=clip.text) for clip in clips])

    found = lines(Leaks())
    assert found["words swapped: other clauses stay"].value == 0.5
    assert found["voice swapped: other clauses stay"].value == 1.0
    assert found["face swapped: its clause follows"].value == 0.0


@pytest.mark.parametrize("about", SAYS)
def test_what_is_removed_is_not_spoken_of(follows, ignores, about):
    assert follows[f"{about} removed: still spoken of"].value == 0.0
    assert ignores[f"{about} removed: still spoken of"].value == 1.0


def test_cuts(follows, ignores):
    """Three equal clauses of one sign move the score to the end; the one that ignores them has it at once."""
    assert ignores["cut: score settles after"].value == 0.0
    assert follows["cut: score settles after"].value == 1.0


@pytest.mark.parametrize("about", SAYS)
def test_false_clauses(follows, ignores, about):
    assert follows[f"false clause on the {about}: score follows"].value == 1.0
    assert follows[f"false clause on the {about}: score moves by"].value == pytest.approx(0.5)
    assert ignores[f"false clause on the {about}: score follows"].value == 0.0
    assert ignores[f"false clause on the {about}: score moves by"].value == 0.0


def test_filler(follows, ignores):
    assert follows["filler instead: score moves by"].value == pytest.approx(0.5)  # 0.75 of two clips, 0.25 of two
    assert ignores["filler instead: score moves by"].value == 0.0


def test_the_reasoning_alone(follows, ignores):
    assert follows["without sound and pictures: sign recovered"].value == 1.0
    assert ignores["without sound and pictures: sign recovered"].value == 0.5  # it sees the words, right of half


def test_every_line_says_what_it_rests_on(follows):
    for line in follows.values():
        assert line.means and line.clips > 0 and line.interval[0] <= line.value <= line.interval[1]
    nothing = {line.name: line for line in card([], Follows(), FORMAT, swapped=None, without=None)}
    assert nothing.keys() == follows.keys()
    assert all(line.value is None and line.clips == 0 for line in nothing.values())
