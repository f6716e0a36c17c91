"""What a distillation may cost: a budget that no request goes beyond, and a pace of requests and tokens."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from emsa_jax.data.records import Entry
from emsa_jax.distill.progress import Spent
from emsa_jax.distill.request_media import spread
from emsa_jax.distill.teacher_options import BudgetOptions, TeacherOptions

PIXELS_PER_TOKEN = 28 * 28  # of Qwen's vision tower; what other teachers charge is learned from their answers
AUDIO_TOKENS_PER_SECOND = 25


class OutOfBudget(Exception):
    """The next request might go beyond what may be spent."""


@dataclass
class Held:
    """What is set aside for requests under way: the tokens of prompts as estimated, those of answers at their most."""

    requests: int = 0
    prompt: float = 0.0
    answer: float = 0.0


@dataclass
class Budget:
    """Keeps what was spent, and what requests under way may cost, within the options."""

    options: BudgetOptions
    spent: Spent
    held: Held = field(default_factory=Held)
    scale: float = 1.0  # tokens charged for prompts / tokens estimated
    _charged: float = 0.0
    _estimated: float = 0.0

    def reserve(self, prompt: float, answer: float) -> Held:
        """Sets aside what a request may cost, in tokens: the estimate for its prompt, and its longest answer.

        Raises OutOfBudget.
        """
        one = Held(1, prompt * self.scale, answer)
        self._add(one, 1)
        if reason := self._over():
            self._add(one, -1)
            raise OutOfBudget(reason)
        return one

    def retry(self, one: Held) -> None:
        """Sets aside one more request for the same answer. Raises OutOfBudget."""
        self.held.requests += 1
        one.requests += 1
        if reason := self._over():
            raise OutOfBudget(reason)

    def release(self, one: Held, charged: int = 0, estimated: float = 0.0) -> None:
        """Gives back what was set aside, since the record counts what it really cost. Learns what prompts cost."""
        self._add(one, -1)
        if charged and estimated:
            self._charged, self._estimated = self._charged + charged, self._estimated + estimated
            self.scale = self._charged / self._estimated

    def _add(self, one: Held, sign: int) -> None:
        held = self.held
        self.held = Held(
            held.requests + sign * one.requests, held.prompt + sign * one.prompt, held.answer + sign * one.answer
        )

    def _over(self) -> str:
        limits, spent, held = self.options, self.spent, self.held
        prompt, answer = spent.prompt_tokens + held.prompt, spent.answer_tokens + held.answer
        if limits.requests and spent.requests + held.requests > limits.requests:
            return f"budget.requests={limits.requests}"
        if limits.tokens and prompt + answer > limits.tokens:
            return f"budget.tokens={limits.tokens}"
        if limits.money and (prompt * limits.price_prompt + answer * limits.price_answer) / 1e6 > limits.money:
            return f"budget.money={limits.money:g}"
        return ""


class Pace:
    """An even pace of so much in a minute; 0 for no limit."""

    def __init__(self, per_minute: float) -> None:
        self._seconds = 60 / per_minute if per_minute else 0.0
        self._next = 0.0

    async def take(self, amount: float = 1.0) -> None:
        """Waits until so much may be used."""
        if not self._seconds:
            return
        now = asyncio.get_running_loop().time()
        turn = max(now, self._next)
        self._next = turn + amount * self._seconds
        await asyncio.sleep(turn - now)

    def correct(self, amount: float) -> None:
        """Corrects the pace where the amount turned out to be larger by so much, or smaller where it is negative."""
        self._next += amount * self._seconds


def prompt_tokens(text: str, entry: Entry, modalities: tuple[str, ...], teacher: TeacherOptions) -> float:
    """About how many tokens a prompt has that consists of a text and of a sample's media."""
    wide = 0 if text.isascii() else sum(char > "\u2e7f" for char in text)
    tokens = wide + (len(text) - wide) / 4
    if "video" in modalities:
        tokens += len(spread(entry.num_frames, teacher.max_frames)) * entry.height * entry.width / PIXELS_PER_TOKEN
    if "audio" in modalities:
        tokens += AUDIO_TOKENS_PER_SECOND * entry.mel_frames / 100
    return tokens
