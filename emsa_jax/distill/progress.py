"""What a record says about each sample, and what is to be asked next: pure functions of its rows.

Kinds of rows: "settings", what was asked for; "attempt", an answer of the teacher; "judge", an answer about an answer;
"filter", an old answer looked at again with other checks; "decision", a person's; "spent", requests without an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from emsa_jax.distill.trace_record import Row

ACCEPTED, REJECTED, FAILED, PENDING = "accepted", "rejected", "failed", "pending"  # pending: a judge has to see it


class Key(NamedTuple):
    """Which answer about a sample. ask: what was asked, by hash; attempts are counted for each."""

    step: str  # "write" | "refine"
    attempt: int
    ask: str


class Step(NamedTuple):
    """What to ask next. of: the answer that it is about; None for "write"."""

    step: str  # "write" | "refine" | "judge"
    attempt: int
    of: Key | None


@dataclass(slots=True)
class Answer:
    """verdict, the hash of the filter that gave it, and its row's place in the file."""

    verdict: str
    filter: str
    place: int
    reward: float = 0.0  # where answers are ranked
    judged: int = 0  # times that a judge was asked about it
    judge: str = ""  # what a judge decided


@dataclass(slots=True)
class Sample:
    """answers in the order in which they came; the last decision of a person, and how many there were."""

    answers: dict[Key, Answer] = field(default_factory=dict)
    decision: str = ""  # "", "accepted", "edited", "rejected"
    decided: int = -1  # place of its row
    decided_on: int = -1  # place of the answer that was decided on
    version: int = 0

    def standing(self) -> Key | None:
        """The answer that the checks let stand: a refined one before a written one, the best by reward, the last."""
        found = [(key.step == "refine", answer.reward, place, key) for place, (key, answer)
                 in enumerate(self.answers.items()) if answer.verdict == ACCEPTED]  # fmt: skip
        return max(found)[3] if found else None

    def place(self) -> int | None:
        """Where the row lies that holds the text to learn from; None: there is none."""
        if self.decision:
            return {"accepted": self.decided_on, "edited": self.decided}.get(self.decision)
        key = self.standing()
        return None if key is None else self.answers[key].place


@dataclass
class Spent:
    """What a record has cost."""

    requests: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.answer_tokens

    def money(self, price_prompt: float, price_answer: float) -> float:
        """prices: of a million tokens."""
        return (self.prompt_tokens * price_prompt + self.answer_tokens * price_answer) / 1e6


@dataclass
class Progress:
    """The state that the rows of a record add up to. `take` is what Record calls with each."""

    samples: dict[str, Sample] = field(default_factory=dict)
    spent: Spent = field(default_factory=Spent)
    settings: set[str] = field(default_factory=set)  # hashes of the settings rows
    formats: set[str] = field(default_factory=set)  # that they name

    def take(self, row: Row, place: int) -> None:
        """Adds a row; kinds of a later version are passed over."""
        kind = row["kind"]
        if kind == "settings":
            self.settings.add(row["hash"])
            self.formats.add(row["format"])
        if kind in ("attempt", "judge", "spent"):
            self.spent.requests += row["requests"]
            self.spent.prompt_tokens += row.get("tokens", {}).get("prompt", 0)
            self.spent.answer_tokens += row.get("tokens", {}).get("answer", 0)
        if kind not in ("attempt", "judge", "filter", "decision"):
            return
        sample = self.samples.setdefault(row["id"], Sample())
        if kind == "decision":
            sample.decision, sample.decided, sample.version = row["verdict"], place, row["version"]
            of = _key(row["of"]) if row.get("of") else None
            sample.decided_on = sample.answers[of].place if of in sample.answers else -1
            return
        if kind == "attempt":
            sample.answers[_key(row)] = Answer(row["verdict"], row["filter"], place, row.get("reward", 0.0))
            return
        answer = sample.answers.get(_key(row["of"]))
        if answer is None:
            return
        if kind == "judge":
            answer.judged += 1
            if row["verdict"] != FAILED:
                answer.judge = answer.verdict = row["verdict"]
        else:
            answer.verdict, answer.filter = row["verdict"], row["filter"]


def next_step(sample: Sample, asks: Mapping[str, str], attempts: int, refine: bool) -> Step | None:
    """What to ask about a sample next; None: nothing, it is settled, or kept aside.

    asks: step -> what would be asked now, by hash. attempts: at most so many answers of each kind to the same question.
    What a person decided is settled."""
    if sample.decision:
        return None
    for key, answer in sample.answers.items():
        if answer.verdict == PENDING:
            return Step("judge", answer.judged, key)
    standing = sample.standing()
    if standing is None:
        tried = _tried(sample.answers, "write", asks["write"])
        return Step("write", tried, None) if tried < attempts else None
    if not refine or standing.step == "refine":
        return None
    tried = _tried(sample.answers, "refine", asks["refine"])
    return Step("refine", tried, standing) if tried < attempts else None


def _tried(answers: Mapping[Key, Answer], step: str, ask: str) -> int:
    return sum(key.step == step and key.ask == ask for key in answers)


def _key(row: Row) -> Key:
    return Key(row["step"], row["attempt"], row["ask"])
