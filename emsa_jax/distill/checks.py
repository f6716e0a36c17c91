"""The filter: is a teacher's answer about a sample kept? (MSA-Thinker, III.A: consistency and plausibility.)

Every check is made on every answer, so that the record shows all that is wrong with it, not the first thing alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from emsa_jax.answers.answer_format import Answer, AnswerFormat
from emsa_jax.answers.lexicon import claims, leak, plain, repetition, speaks_of, units, written_in
from emsa_jax.distill.teacher_options import FilterOptions
from emsa_jax.errors import InputError

# in the order in which a rejected trace is given its reason
CHECKS = (
    "finished",
    "parse",
    "polarity",
    "score_sign",
    "sentiment",
    "concepts",
    "agreement",
    "leak",
    "absent_modality",
    "modalities",
    "length",
    "repetition",
    "language",
    "writable",
)
_ENDS = {"length": "cut off", "content_filter": "held back by the endpoint", "refusal": "the teacher refused"}
Checks = dict[str, str | None]  # "" passed, else what is wrong; None: could not be looked at, or was not asked for


@dataclass(frozen=True)
class Truth:
    """What is known of a sample. modalities: those that the teacher was shown, of data.data_options.MODALITIES."""

    score: float
    language: str
    modalities: tuple[str, ...]
    concepts: tuple[tuple[str, str], ...] = ()


def check(answer: str, finish: str, truth: Truth, format: AnswerFormat, options: FilterOptions) -> Checks:
    """What each of `CHECKS` says of an answer. Never raises; linear in the answer's length.

    finish: why it ended, as the endpoint says ("stop", "length", "content_filter", "" where it does not).
    """
    parsed = format.parse(answer)
    found: Checks = dict.fromkeys(CHECKS)
    found["finished"] = _ENDS.get(finish, "")
    found["parse"] = "; ".join(parsed.notes)
    found |= format.mistakes(parsed, format.truth(truth))
    if found["score_sign"] == "":
        found["score_sign"] = _score_gap(parsed, truth, format, options)
    if parsed.think is not None:
        found |= plausible(parsed.think, truth, options)
    if parsed.well_formed:
        found["writable"] = _writable(format, parsed, truth.score)
    return found


def plausible(think: str, truth: Truth, options: FilterOptions) -> Checks:
    """The checks of the reasoning alone."""
    text = plain(think)
    words = units(text)
    found: Checks = {}
    if options.leaks:
        words_of_it = leak(text, options.leak_phrases)
        found["leak"] = f"speaks of what it was given: {words_of_it!r}" if words_of_it else ""
    if options.modalities:
        silent = [name for name in truth.modalities if not speaks_of(text, name)]
        found["modalities"] = f"says nothing of {', '.join(silent)}" if silent else ""
        claimed = [(name, claims(text, name)) for name in ("text", "audio", "video") if name not in truth.modalities]
        found["absent_modality"] = "; ".join(
            f"claims {name}, which is not there: {word!r}" for name, word in claimed if word
        )
    if not options.min_units <= len(words) <= options.max_units:
        found["length"] = f"{len(words)} units, not {options.min_units} to {options.max_units}"
    else:
        found["length"] = ""
    repeated = repetition(words)
    found["repetition"] = f"{repeated:.0%} of it is repeated" if repeated > options.max_repetition else ""
    language = truth.language if options.language == "own" else options.language
    found["language"] = "" if written_in(words, language) else f"not written in {language}"
    return found


def verdict(checks: Mapping[str, str | None]) -> tuple[str, str]:
    """("accepted", "") or ("rejected", "check: what is wrong"), the first of `CHECKS` that objects."""
    for name in CHECKS:
        if checks.get(name):
            return "rejected", f"{name}: {checks[name]}"
    return "accepted", ""


def _score_gap(parsed: Answer, truth: Truth, format: AnswerFormat, options: FilterOptions) -> str:
    low, high = format.score_range
    if options.score_gap and abs(parsed.score - truth.score) > options.score_gap * (high - low):
        return "the teacher's score is too far from the true one"
    return ""


def _writable(format: AnswerFormat, parsed: Answer, score: float) -> str:
    """With the true score in the place of the written one, as it will be learned."""
    try:
        format.write(parsed.polarity, parsed.think, score)
    except InputError as error:
        return str(error)
    return ""
