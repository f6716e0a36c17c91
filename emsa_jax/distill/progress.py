"""What a record says about a distillation so far, and what is to be asked next: pure functions of its rows.

Beside the rows about samples (answers/recorded_traces.py), a record has rows of the kinds "settings", what was asked
for, and "spent", requests that got no answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from emsa_jax.answers.recorded_traces import PENDING, AnswerKey, RecordedAnswer, RecordedSample, take_row
from emsa_jax.append_log import Row


class Step(NamedTuple):
    """What to ask next. of: the answer that it is about; None for "write"."""

    step: str  # "write" | "refine" | "judge"
    attempt: int
    of: AnswerKey | None


@dataclass
class Spent:
    """What a record has cost."""

    requests: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Tokens of prompts and answers together."""
        return self.prompt_tokens + self.answer_tokens

    def money(self, price_prompt: float, price_answer: float) -> float:
        """What the tokens cost. The prices are those of a million tokens."""
        return (self.prompt_tokens * price_prompt + self.answer_tokens * price_answer) / 1e6


@dataclass
class Progress:
    """The state that the rows of a record add up to. `take` is what an `AppendLog` calls with each row."""

    samples: dict[str, RecordedSample] = field(default_factory=dict)
    spent: Spent = field(default_factory=Spent)
    settings: set[str] = field(default_factory=set)  # hashes of the settings rows
    formats: set[str] = field(default_factory=set)  # the answer formats that these name

    def take(self, row: Row, place: int) -> None:
        """Adds a row. Kinds of a later version are passed over."""
        if row["kind"] == "settings":
            self.settings.add(row["hash"])
            self.formats.add(row["format"])
        elif row["kind"] in ("attempt", "judge", "spent"):
            tokens = row.get("tokens", {})
            self.spent.requests += row["requests"]
            self.spent.prompt_tokens += tokens.get("prompt", 0)
            self.spent.answer_tokens += tokens.get("answer", 0)
        take_row(self.samples, row, place)

    def sample(self, id: str) -> RecordedSample:
        """What is known of a sample; an empty one where the record has nothing about it."""
        return self.samples.get(id) or RecordedSample()


def next_step(sample: RecordedSample, asks: Mapping[str, str], attempts: int, refine: bool) -> Step | None:
    """What to ask about a sample next; None where it is settled or kept aside.

    asks: step -> what would be asked now, by hash. attempts: at most so many answers of each kind to the same question.
    A sample that a person decided on is settled.
    """
    if sample.decision:
        return None
    for key, answer in sample.answers.items():
        if answer.verdict == PENDING:
            return Step("judge", answer.times_judged, key)
    standing = sample.standing()
    if standing is None:
        made = _count_attempts(sample.answers, "write", asks["write"])
        return Step("write", made, None) if made < attempts else None
    if not refine or standing.step == "refine":
        return None
    made = _count_attempts(sample.answers, "refine", asks["refine"])
    return Step("refine", made, standing) if made < attempts else None


def _count_attempts(answers: Mapping[AnswerKey, RecordedAnswer], step: str, ask: str) -> int:
    return sum(key.step == step and key.ask == ask for key in answers)
