"""The loop over the samples: many are asked about at once, and each answer is recorded before the next is asked for."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from emsa_jax.answers.recorded_traces import ACCEPTED, FAILED, REJECTED
from emsa_jax.append_log import Row
from emsa_jax.distill.budget import Budget, OutOfBudget, Pace, prompt_tokens
from emsa_jax.distill.checks import Truth
from emsa_jax.distill.client import ChatClient, Reply
from emsa_jax.distill.distill_plan import DistillPlan, LabelledSample, parsed_row
from emsa_jax.distill.open_record import OpenRecord
from emsa_jax.distill.progress import Step, next_step
from emsa_jax.distill.request_media import media_of
from emsa_jax.errors import InputError


@dataclass
class Distillation:
    """One run over the samples that a record is not done with.

    source: index of a sample -> its msgpack record. stopped: why the run ended early, "" if it did not.
    """

    plan: DistillPlan
    source: Sequence[bytes]
    record: OpenRecord
    client: ChatClient
    budget: Budget
    stopped: str = ""
    _requests: Pace = field(init=False)
    _tokens: Pace = field(init=False)
    _turn: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)
    _failures: int = 0  # requests without an answer since the last one that got an answer
    _error: Exception | None = None

    def __post_init__(self) -> None:
        self._requests = Pace(self.plan.teacher.requests_per_minute)
        self._tokens = Pace(self.plan.teacher.tokens_per_minute)

    def stop(self, reason: str) -> None:
        """Sends no further request. Those under way are awaited, but not tried again."""
        self.stopped = self.stopped or reason
        self.client.stopped.set()

    async def run(self, samples: Iterable[LabelledSample], settled: Callable[[], None] = lambda: None) -> None:
        """Asks about the samples. settled: called once for each sample that needs no further request.

        Raises InputError where no request can succeed, after the answers under way were recorded.
        """
        queue = iter(samples)  # all slots draw from one iterator, so that each sample goes to one slot
        await asyncio.gather(*(self._slot(queue, settled) for _ in range(self.plan.teacher.concurrency)))
        if self._error is not None:
            raise self._error

    async def _slot(self, queue: Iterator[LabelledSample], settled: Callable[[], None]) -> None:
        for sample in queue:
            if self.stopped:
                return
            try:
                await self._settle(sample)
            except OutOfBudget as reason:
                self.stop(str(reason))
                return
            except Exception as error:  # of whatever kind: the other slots first record their answers
                self._error = self._error or error
                self.stop("error")
                return
            if not self.stopped:
                settled()

    async def _settle(self, sample: LabelledSample) -> None:
        while not self.stopped:
            known = self.record.progress.sample(sample.entry.id)
            step = next_step(known, self.plan.asks, self.plan.attempts, self.plan.refine)
            if step is None:
                return
            about = self.record.log.at(known.answers[step.of].place) if step.of else {}
            # encoding a video takes a while, so it must not hold up the other slots
            run_apart = asyncio.to_thread if self.plan.teacher.video == "video" else self._in_turn
            body, prompt, text = await run_apart(self._body, step, sample, about.get("answer") or "")
            await self._ask(
                body,
                prompt_tokens(text, sample.entry, sample.truth.modalities, self.plan.teacher),
                functools.partial(self._keep, step, sample, prompt),
            )

    async def _in_turn(self, work: Callable, *arguments: Any) -> Any:
        """work(*arguments), for one slot at a time, after what the previous slot has to send went out.

        Without this, answers that arrive together would all be handled before the next question is sent, and their
        successors would arrive together again.
        """
        async with self._turn:
            await asyncio.sleep(0)
            return work(*arguments)

    def _keep(self, step: Step, sample: LabelledSample, prompt: Row, reply: Reply) -> None:
        self.record.log.append(self._row(step, sample, prompt, reply))
        self._count_failures(reply)

    def _body(self, step: Step, sample: LabelledSample, answer: str) -> tuple[bytes, Row, str]:
        """(request body, what the record keeps of the prompt, the prompt's words)."""
        _, entry, truth = sample
        shown = [kind in truth.modalities and self.plan.shows_media(step) for kind in ("video", "audio")]
        media = media_of(self.source[sample.index], *shown, self.plan.teacher)
        chat, kept = self.plan.messages(step, sample, media, answer)
        body = {**self.plan.parameters(step), "messages": chat}
        words = kept["prompt"]
        words |= {name: self.client.redact(words[name]) for name in ("system", "user")}  # a template may hold a key
        return json.dumps(body).encode(), kept, words["system"] + words["user"]

    async def _ask(self, body: bytes, estimate: float, keep: Callable[[Reply], None]) -> None:
        """Asks within the budget. What is set aside is given back when the answer is recorded, and counts as spent."""
        most = self.plan.teacher.max_tokens
        held, charged, sent = self.budget.reserve(estimate, most), 0, 0

        async def before_sending() -> None:
            nonlocal sent
            if sent:
                self.budget.retry(held)
            await self._requests.take()
            if self.stopped:
                raise OutOfBudget(self.stopped)
            sent += 1

        try:
            await self._tokens.take(held.prompt + most)
            reply = await self.client.ask(body, before_sending)
            if charged := reply.prompt_tokens:
                self._tokens.correct(charged + reply.answer_tokens - held.prompt - most)
            await self._in_turn(keep, reply)
        except OutOfBudget:
            if sent:
                self.record.log.append({"kind": "spent", "requests": sent})
            raise
        finally:
            self.budget.release(held, charged, estimate)

    def _row(self, step: Step, sample: LabelledSample, prompt: Row, reply: Reply) -> Row:
        is_judge = step.step == "judge"
        row = {
            "kind": "judge" if is_judge else "attempt",
            "id": sample.entry.id,
            "step": step.step,
            "attempt": step.attempt,
            "ask": step.of.ask if is_judge else self.plan.asks[step.step],
            "teacher": self.plan.model_of(step),
        }
        if step.of:
            row["of"] = step.of._asdict()
        row |= prompt | {"parameters": self.plan.parameters(step), "answer": reply.answer, "finish": reply.finish}
        if is_judge:
            row |= read_verdict(reply, last=step.attempt + 1 >= self.plan.attempts)
        else:
            row["truth"] = self.plan.truth_row(sample.truth)
            row |= check_reply(self.plan, reply, sample.truth)
        return row | {
            "tokens": {"prompt": reply.prompt_tokens, "answer": reply.answer_tokens},
            "requests": reply.requests,
            "time": {"ended": now(), "seconds": round(reply.seconds, 3)},
        }

    def _count_failures(self, reply: Reply) -> None:
        """Ends the run where nothing is answered any more: it would only use up the attempts at the samples."""
        self._failures = self._failures + 1 if reply.answer is None else 0
        if self._failures >= max(20, 3 * self.plan.teacher.concurrency):
            raise InputError(
                f"the teacher gave no answer {self._failures} times in a row, at last: {reply.error}; see "
                "to the endpoint, raise config.attempts, and run the same command again"
            )


def check_reply(plan: DistillPlan, reply: Reply, truth: Truth) -> Row:
    """{"parsed", "checks", "verdict", "reason", "filter"} of what the teacher wrote, if it wrote anything."""
    if reply.answer is None:
        return {
            "parsed": {},
            "checks": {},
            "verdict": FAILED,
            "reason": f"no answer: {reply.error}",
            "filter": plan.filter_hash(truth),
        }
    return {"parsed": parsed_row(plan.format, reply.answer), **plan.check(reply.answer, reply.finish, truth)}


def read_verdict(reply: Reply, last: bool) -> Row:
    """{"verdict", "reason"} of a judge, whose first line must be "sound" or "unsound: why"; anything else decides
    nothing, unless it was the last attempt."""
    words = (reply.answer or "").strip().splitlines()[:1]
    line = words[0].strip().strip("*`\"'.").strip() if words else ""
    if line.casefold() == "sound":
        return {"verdict": ACCEPTED, "reason": ""}
    if line.casefold().startswith("unsound"):
        return {"verdict": REJECTED, "reason": f"judge: {line[7:].lstrip(': ')[:200] or 'unsound'}"}
    return {"verdict": REJECTED if last else FAILED, "reason": "judge: gave no verdict"}


def now() -> str:
    """The time, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
