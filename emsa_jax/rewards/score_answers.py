"""From the texts of answers to the table of their rewards: N prompts, G answers each."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from emsa_jax.answers.answer_format import Answer, AnswerFormat, Labelled, Truth
from emsa_jax.data.data_options import MODALITIES
from emsa_jax.data.records import Clip, Entry
from emsa_jax.data.views import modalities
from emsa_jax.errors import InputError
from emsa_jax.rewards.claim_parts import CLAIM_PARTS, CUES, EVIDENCE, contradicts_given, cues, evidence
from emsa_jax.rewards.parts import reward_parts
from emsa_jax.rewards.plugins import Plugin, call_plugin, load_plugins, sample_of
from emsa_jax.rewards.reward_options import RewardOptions


@dataclass(frozen=True)
class RewardTable:
    """All arrays are [N, G].

    parts: name -> float64, unweighted; nan where a part does not apply. total: float64, the weighted sum of the parts
    that apply. claims: float64, how much of it the parts of `claim_parts` earned. well_formed: bool. contradict: bool,
    the answer contradicts itself. parsed[n][g]: what was read.
    """

    parts: dict[str, np.ndarray]
    total: np.ndarray
    claims: np.ndarray
    well_formed: np.ndarray
    contradict: np.ndarray
    parsed: list[list[Answer]]


@dataclass(frozen=True, kw_only=True)
class AnswerScorer:
    """A function from answers to their rewards, with all that is the same at every step.

    plugins: reward parts of the user's own, by name. balance: true class -> factor of the accuracy in the total.
    given: the parts that a hint gives away. modalities: those that prompts have, as far as a clip does.
    """

    format: AnswerFormat
    options: RewardOptions = field(default_factory=RewardOptions)
    plugins: Mapping[str, Plugin] = field(default_factory=dict)
    balance: Mapping[str, float] = field(default_factory=dict)
    given: tuple[str, ...] = ()
    modalities: tuple[str, ...] = MODALITIES

    @classmethod
    def of(
        cls,
        format: AnswerFormat,
        options: RewardOptions,
        train: Iterable[Labelled] | None = None,
        hint_level: str = "",
        modalities: Sequence[str] = MODALITIES,
    ) -> AnswerScorer:
        """The scorer of a run. train: clips or entries of the training set, by which classes are balanced; None to
        leave them as they are. hint_level: of the hints that answers may begin with. modalities: that prompts have.
        Raises InputError for a plug-in that cannot be loaded, or classes that cannot be balanced."""
        balance = {}
        if options.class_balance == "inverse" and format.classes and train is not None:
            truths = [format.truth(clip) for clip in train]
            balance = class_balance([truth.sentiment for truth in truths if truth], format.classes)
        plugins, given = load_plugins(options.plugins), format.given_parts(hint_level)
        return cls(
            format=format,
            options=options,
            plugins=plugins,
            balance=balance,
            given=given,
            modalities=tuple(modalities),
        )

    def __call__(
        self,
        clips: Sequence,
        texts: Sequence[Sequence[str]],
        ended: np.ndarray | None = None,
        unpaid: np.ndarray | None = None,
        expected: np.ndarray | None = None,
        hinted: np.ndarray | None = None,
    ) -> RewardTable:
        """Scores texts[n][g], whole answers with any hint that they begin with, about clips[n] (Clip or Entry).

        ended: bool [N, G], False for answers that were cut off (`RewardOptions.truncated` says what they earn); None
        if none was. unpaid: bool [N, G], answers that were given the parts `given`, which are not to be paid for.
        hinted: bool [N, G], answers that were given them at all; None if none was.
        expected: float [N, G], scores to be rewarded in place of those that answers have; nan where there is none.
        """
        shape = (len(texts), len(texts[0]) if texts else 0)
        cut_off = np.zeros(shape, bool) if ended is None else ~ended
        unpaid = np.zeros(shape, bool) if unpaid is None else unpaid
        expected = np.full(shape, np.nan) if expected is None else expected
        gated = np.zeros(shape, bool) if hinted is None or not self.options.gate_hinted else hinted
        parsed = [[self.format.parse(text) for text in group] for group in texts]
        rows, totals, claimed = [], [], []
        for n, (clip, group) in enumerate(zip(clips, texts, strict=True)):
            truth = self.format.truth(clip)
            sample = sample_of(clip) if self.plugins else {}
            factor = self.balance.get(truth.sentiment, 1.0) if truth else 1.0
            for g, text in enumerate(group):
                row = self._row(text, parsed[n][g], truth, sample, unpaid[n, g], cut_off[n, g], expected[n, g])
                row |= self._claims(parsed[n][g], truth, clip, cut_off[n, g])
                if gated[n, g] and truth and contradicts_given(parsed[n][g], truth.polarity):
                    row |= {name: 0.0 for name in (*self.given, "score") if row.get(name) is not None}
                rows.append(row)
                totals.append(total(row, self.options, factor))
                claimed.append(total({name: row.get(name) for name in CLAIM_PARTS}, self.options))

        def array(values: Iterable, dtype: type) -> np.ndarray:
            return np.array(list(values), dtype).reshape(shape)

        names = rows[0] if rows else ()
        return RewardTable(
            # float64 turns None into nan
            parts={name: array((row[name] for row in rows), np.float64) for name in names},
            total=array(totals, np.float64),
            claims=array(claimed, np.float64),
            well_formed=array((answer.well_formed for answers in parsed for answer in answers), bool),
            contradict=array((self.format.contradicts(answer) for answers in parsed for answer in answers), bool),
            parsed=parsed,
        )

    def _row(
        self,
        text: str,
        answer: Answer,
        truth: Truth | None,
        sample: Mapping,
        unpaid: bool,
        cut_off: bool,
        expected: float,
    ) -> dict[str, float | None]:
        """Name -> what each part pays for one answer."""
        penalty, expected = self.options.consistency == "penalty", None if np.isnan(expected) else float(expected)
        row = reward_parts(answer, truth, self.format, self.options, penalty, expected)
        if unpaid:
            row |= dict.fromkeys(self.given)
        for name, plugin in self.plugins.items():
            row[name] = call_plugin(name, plugin, text, answer, sample)
        if cut_off and self.options.truncated == "zero":
            row = {name: None if value is None else min(value, 0.0) for name, value in row.items()}
        return row

    @functools.cached_property
    def _claim_parts(self) -> tuple[str, ...]:
        return self.options.claim_parts

    def _claims(
        self, answer: Answer, truth: Truth | None, clip: Clip | Entry, cut_off: bool
    ) -> dict[str, float | None]:
        """What the parts pay that look at the claims of an answer."""
        names = self._claim_parts
        if not names or not self.format.has_reasoning:
            return {}
        shown = [name for name in modalities(clip) if name in self.modalities]
        row = {EVIDENCE: evidence(answer, truth, shown), CUES: cues(answer, truth, shown)}
        row = {name: row[name] for name in names}
        if cut_off and self.options.truncated == "zero":
            return {name: None if value is None else min(value, 0.0) for name, value in row.items()}
        return row


def total(parts: Mapping[str, float | None], options: RewardOptions, accuracy_factor: float = 1.0) -> float:
    """The weighted sum of the parts that apply; the weight of `accuracy` times a factor (the clip's class's)."""
    given, claimed = options.weights, dict.fromkeys(CLAIM_PARTS, 0.0)  # as `RewardOptions.weight` has them
    weights = {name: given.get(name, claimed.get(name, 1.0)) for name in parts}
    if "accuracy" in weights:
        weights["accuracy"] *= accuracy_factor
    return sum((weights[name] * value for name, value in parts.items() if value is not None), 0.0)


def class_balance(sentiments: Iterable[str], classes: int) -> dict[str, float]:
    """Class -> clips / (classes * clips of it), as scikit-learn's "balanced" weights; classes without clips are left
    out. Raises InputError if there are no clips."""
    counts = Counter(sentiments)
    if not counts:
        raise InputError("reward.class_balance: no clip of the training set has a label")
    return {name: counts.total() / (classes * count) for name, count in sorted(counts.items())}
