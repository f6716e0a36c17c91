"""Does an answer hang on its explanation, and the explanation on the clip? A card of interventions.

A policy is known here by two things alone: what it answers to clips, and which score it names after a given reasoning
(`Respondent`). Every line of the card has its value, the clips that it rests on, and a bootstrap interval over these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from emsa_jax.answers.answer_format import Answer, AnswerFormat
from emsa_jax.answers.claim_truth import claims_of
from emsa_jax.answers.claims import ABOUT, MODALITY_OF, not_shown
from emsa_jax.answers.labels import polarity_of
from emsa_jax.evaluation.interventions import OPPOSITE, cuts, filler, settles, turned
from emsa_jax.evaluation.resampling import intervals

SETTLED = 0.05  # of the score range: what lies nearer to the last score is the same
NOTHING = "1."  # a reasoning before anything is said


class Respondent(Protocol):
    """A policy that is asked. Clips are whatever it takes."""

    def answers(self, clips: Sequence[Any]) -> list[str]:
        """The greedy answer to each clip."""
        ...

    def scores(self, clips: Sequence[Any], texts: Sequence[str]) -> list[float | None]:
        """The score that follows each answer in place of its own; None where an answer has no place for one."""
        ...


@dataclass(frozen=True, kw_only=True)
class Case:
    """A clip under test. signs: of "words", "face" and "voice", as far as they are known. shown: of "text", "audio" and
    "video"."""

    clip: Any
    signs: tuple[tuple[str, str], ...]
    shown: tuple[str, ...]
    language: str


@dataclass(frozen=True)
class Line:
    """value: the mean over `clips` cases, None without any. means: in one sentence, what it says."""

    name: str
    value: float | None
    clips: int
    interval: tuple[float, float] | None
    means: str


@dataclass(frozen=True)
class _Edit:
    """A clip of which one modality was swapped for a partner's, or removed."""

    about: str
    case: int
    partner: int | None
    clip: Any


def card(
    cases: Sequence[Case],
    respondent: Respondent,
    format: AnswerFormat,
    *,
    swapped: Callable[[Case, Case, str], Any],
    without: Callable[[Case, tuple[str, ...]], Any],
    resamples: int = 500,
) -> list[Line]:
    """All lines of the card. The respondent is asked three times: about the clips, about edited clips, and for scores.

    swapped(case, partner, modality): the clip with the partner's modality; partners have the opposite sign there.
    without(case, modalities): the clip without these."""
    texts = respondent.answers([case.clip for case in cases])
    answers = [format.parse(text) for text in texts]
    edits = [edit for about in ABOUT for edit in _edits(cases, about, swapped, without)]
    after = list(zip(edits, map(format.parse, respondent.answers([edit.clip for edit in edits])), strict=True))
    found: dict[str, tuple[list[float], str]] = {}
    for about in ABOUT:
        of_it = [(edit, answer) for edit, answer in after if edit.about == about]
        found |= _swap(cases, answers, [one for one in of_it if one[0].partner is not None], about)
        found |= _remove(cases, [one for one in of_it if one[0].partner is None], about)
    found |= _reasoning(cases, texts, answers, respondent, format, without)
    return [_line(name, values, means, resamples) for name, (values, means) in found.items()]


def _edits(cases: Sequence[Case], about: str, swapped: Callable, without: Callable) -> list[_Edit]:
    name = MODALITY_OF[about]
    found = [_Edit(about, i, j, swapped(cases[i], cases[j], name)) for i, j in partners(cases, about).items()]
    removed = [i for i, case in enumerate(cases) if name in case.shown and len(case.shown) > 1]
    return found + [_Edit(about, i, None, without(cases[i], (name,))) for i in removed]


def partners(cases: Sequence[Case], about: str) -> dict[int, int]:
    """Case -> a case whose sign of `about` is the opposite one, each the next that there is; cases without a sign, or
    with a neutral one, have none."""
    signs = [dict(case.signs).get(about) for case in cases]
    found = {}
    for i, sign in enumerate(signs):
        order = [(i + step) % len(cases) for step in range(1, len(cases))]
        partner = next((j for j in order if sign in OPPOSITE and signs[j] == OPPOSITE[sign]), None)
        if partner is not None and MODALITY_OF[about] in cases[i].shown and MODALITY_OF[about] in cases[partner].shown:
            found[i] = partner
    return found


def _swap(cases: Sequence[Case], answers: list[Answer], after: list[tuple[_Edit, Answer]], about: str) -> dict:
    clause, others, polarity, moved = [], [], [], []
    for edit, new in after:
        old = answers[edit.case]
        said, before = claims_of(new), claims_of(old)
        if before.sign(about) == dict(cases[edit.case].signs)[about]:  # one that was not true cannot be seen to follow
            clause.append(float(said.sign(about) == dict(cases[edit.partner].signs)[about]))
        others.append(float(np.mean([said.signs(one) == before.signs(one) for one in ABOUT if one != about])))
        polarity.append(float(new.polarity != old.polarity))
        if new.score is not None and old.score is not None:
            moved.append(abs(new.score - old.score))
    return {
        f"{about} swapped: its clause follows": (clause, f"what is said of the {about} comes from the clip"),
        f"{about} swapped: other clauses stay": (others, f"what is said of the rest does not come from the {about}"),
        f"{about} swapped: polarity changes": (polarity, f"the verdict goes by the {about}"),
        f"{about} swapped: score moves by": (moved, f"how far the score goes by the {about}, in points"),
    }


def _remove(cases: Sequence[Case], after: list[tuple[_Edit, Answer]], about: str) -> dict:
    still = []
    for edit, answer in after:
        left = [name for name in cases[edit.case].shown if name != MODALITY_OF[about]]
        still.append(float(about in not_shown(answer.think, claims_of(answer), left)))
    return {f"{about} removed: still spoken of": (still, f"claims about the {about} are made without it")}


@dataclass(frozen=True)
class _Ask:
    """A score that is asked for. sign: 1 or -1, what a false clause claims."""

    case: int
    what: str
    clip: Any
    text: str
    sign: float = 0.0


def _reasoning(
    cases: Sequence[Case],
    texts: Sequence[str],
    answers: list[Answer],
    respondent: Respondent,
    format: AnswerFormat,
    without: Callable,
) -> dict:
    """Edits of the reasoning, and the score that follows each."""
    low, high = format.score_range
    near = SETTLED * (high - low)
    asks: list[_Ask] = []
    for i, (case, text, answer) in enumerate(zip(cases, texts, answers, strict=True)):
        if answer.think and answer.score is not None:
            asks += _asks(i, case, text, answer.think, without)
    scores = respondent.scores([ask.clip for ask in asks], [ask.text for ask in asks])
    whole = {ask.case: score for ask, score in zip(asks, scores, strict=True) if ask.what == "whole"}
    known = [(ask, s, whole[ask.case]) for ask, s in zip(asks, scores, strict=True) if None not in (s, whole[ask.case])]

    def moves(what: str) -> list[float]:
        """How far each score moved, towards the sign of a false clause."""
        return [(s - old) * ask.sign if ask.sign else abs(s - old) for ask, s, old in known if ask.what == what]

    paths: dict[int, list[float]] = {}
    for ask, score, _ in known:
        if ask.what == "cut":
            paths.setdefault(ask.case, []).append(score)
    settled = [at for path in paths.values() if (at := settles(path, near)) is not None]
    alone = [float(polarity_of(s, near) == polarity_of(old, near)) for ask, s, old in known if ask.what == "blind"]
    found = {
        "filler instead: score moves by": (moves("filler"), "how far the score hangs on what is said, in points"),
        "cut: score settles after": (settled, "share of the clauses after which the score no longer moves"),
        "without sound and pictures: sign recovered": (alone, "the score can be told from what was said alone"),
    }
    for about in ABOUT:
        moved = moves(about)
        follows = [float(value > near) for value in moved]
        found[f"false clause on the {about}: score follows"] = (follows, "the score goes by what is said, though false")
        found[f"false clause on the {about}: score moves by"] = (moved, "towards the false sign, in points")
    return found


def _asks(i: int, case: Case, text: str, think: str, without: Callable) -> list[_Ask]:
    def edited(part: str) -> str:
        return text.replace(think, part, 1)

    found = [
        _Ask(i, "whole", case.clip, text),
        _Ask(i, "filler", case.clip, edited(filler(think, case.language))),
        *(_Ask(i, "cut", case.clip, edited(part)) for part in (NOTHING, *cuts(think))),
    ]
    unseen = tuple(name for name in case.shown if name != "text")
    if unseen and len(unseen) < len(case.shown):
        found.append(_Ask(i, "blind", without(case, unseen), text))
    for about in ABOUT:
        if edit := turned(think, about, case.language):
            found.append(_Ask(i, about, case.clip, edited(edit[0]), 1.0 if edit[1] == "positive" else -1.0))
    return found


def _line(name: str, values: list[float], means: str, resamples: int) -> Line:
    array = np.array(values, np.float64)
    if not len(array):
        return Line(name, None, 0, None, means)
    spread = intervals(lambda at: {"value": float(array[at].mean())}, len(array), resamples) if resamples else {}
    return Line(name, float(array.mean()), len(array), spread.get("value"), means)
