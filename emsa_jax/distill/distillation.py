"""The loop: every sample through its steps, so many at once, each answer in the record before the next is asked for."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from emsa_jax.answers.labels import polarity_of
from emsa_jax.answers.recorded_traces import ACCEPTED, FAILED, PENDING, REJECTED
from emsa_jax.append_log import AppendLog, Row
from emsa_jax.data.records import Entry
from emsa_jax.distill.budget import Budget, OutOfBudget, Pace, prompt_tokens
from emsa_jax.distill.checks import Truth
from emsa_jax.distill.client import ChatClient, Reply
from emsa_jax.distill.distill_plan import DistillPlan, parsed_row, truth_row
from emsa_jax.distill.progress import Progress, Step, next_step
from emsa_jax.distill.request_media import media_of
from emsa_jax.errors import InputError


@dataclass
class Distillation:
    """One run over the samples that a record is not done with.

    source: index of a sample -> its msgpack record. stopped: why it ended early, "" if it did not.
    """

    plan: DistillPlan
    source: Sequence[bytes]
    record: AppendLog
    progress: Progress
    client: ChatClient
    budget: Budget
    stopped: str = ""
    _requests: Pace = field(init=False)
    _tokens: Pace = field(init=False)
    _turn: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)
    _failures: int = 0  # attempts without an answer since the last one with
    _error: Exception | None = None

    def __post_init__(self) -> None:
        self._requests = Pace(self.plan.teacher.requests_per_minute)
        self._tokens = Pace(self.plan.teacher.tokens_per_minute)

    def stop(self, reason: str) -> None:
        """Sends no further request; those under way are awaited, but not tried again."""
        self.stopped = self.stopped or reason
        self.client.stopped.set()

    async def run(self, samples: Iterable[tuple[int, Entry, Truth]], done: Callable[[], None] = lambda: None) -> None:
        """Asks about the samples. done: called as each is settled. Raises InputError where no request can succeed,
        after the answers under way were kept."""
        todo = iter(samples)  # shared: each sample goes to one slot
        await asyncio.gather(*(self._slot(todo, done) for _ in range(self.plan.teacher.concurrency)))
        if self._error is not None:
            raise self._error

    async def _slot(self, todo, done) -> None:
        for index, entry, truth in todo:
            if self.stopped:
                return
            try:
                await self._settle(index, entry, truth)
            except OutOfBudget as reason:
                self.stop(str(reason))
                return
            except Exception as error:  # of whatever kind: the other slots are to keep their answers first
                self._error = self._error or error
                self.stop("error")
                return
            if not self.stopped:
                done()

    async def _settle(self, index: int, entry: Entry, truth: Truth) -> None:
        while not self.stopped:
            sample = self.progress.sample(entry.id)
            step = next_step(sample, self.plan.asks, self.plan.attempts, self.plan.refine)
            if step is None:
                return
            about = self.record.at(sample.answers[step.of].place) if step.of else {}
            beside = asyncio.to_thread if self.plan.teacher.video == "video" else self._alone  # encoding takes a while
            body, kept, text = await beside(self._body, step, index, entry, truth, about.get("answer") or "")
            await self._ask(
                body,
                prompt_tokens(text, entry, truth.modalities, self.plan.teacher),
                functools.partial(self._keep, step, entry, truth, kept),
            )

    async def _alone(self, work: Callable, *arguments):
        """work(*arguments), one slot after the other, and what the one before has to send goes out first. Else answers
        that come together are all dealt with before the next question is sent, and will come together again."""
        async with self._turn:
            await asyncio.sleep(0)
            return work(*arguments)

    def _keep(self, step: Step, entry: Entry, truth: Truth, kept: Row, reply: Reply) -> None:
        self.record.append(self._row(step, entry, truth, kept, reply))
        self._count(reply)

    def _body(self, step: Step, index: int, entry: Entry, truth: Truth, answer: str) -> tuple[bytes, Row, str]:
        """(request body, what the record keeps of it, its words)."""
        record = self.source[index]
        media = media_of(record, "video" in truth.modalities, "audio" in truth.modalities, self.plan.teacher)
        chat, kept = self.plan.messages(step, entry, truth, media, answer)
        body = {**self.plan.parameters(step), "messages": chat}
        words = kept["prompt"]
        words |= {name: self.client.redact(words[name]) for name in ("system", "user")}  # templates are anyone's text
        return json.dumps(body).encode(), kept, words["system"] + words["user"]

    async def _ask(self, body: bytes, estimate: float, keep: Callable[[Reply], None]) -> None:
        """Asks within the budget. What is set aside is given back once the answer is kept, and so counted as spent."""
        most = self.plan.teacher.max_tokens
        held, charged, made = self.budget.reserve(estimate, most), 0, 0

        async def may_send() -> None:
            nonlocal made
            if made:
                self.budget.retry(held)
            await self._requests.take()
            if self.stopped:
                raise OutOfBudget(self.stopped)
            made += 1

        try:
            await self._tokens.take(held.prompt + most)
            reply = await self.client.ask(body, may_send)
            if charged := reply.prompt_tokens:
                self._tokens.correct(charged + reply.answer_tokens - held.prompt - most)
            await self._alone(keep, reply)
        except OutOfBudget:
            if made:
                self.record.append({"kind": "spent", "requests": made})
            raise
        finally:
            self.budget.release(held, charged, estimate)

    def _row(self, step: Step, entry: Entry, truth: Truth, kept: Row, reply: Reply) -> Row:
        row = {"kind": "judge" if step.step == "judge" else "attempt", "id": entry.id, "step": step.step,
               "attempt": step.attempt, "ask": step.of.ask if step.step == "judge" else self.plan.asks[step.step],
               "teacher": self.plan.teacher.model}  # fmt: skip
        if step.of:
            row["of"] = step.of._asdict()
        row |= kept | {"parameters": self.plan.parameters(step), "answer": reply.answer, "finish": reply.finish}
        if step.step == "judge":
            row |= judged(reply, last=step.attempt + 1 >= self.plan.attempts)
        else:
            row["truth"] = truth_row(truth, polarity_of(truth.score, self.plan.neutral_eps))
            row |= answered(self.plan, reply, truth)
        tokens = {"prompt": reply.prompt_tokens, "answer": reply.answer_tokens}
        return row | {"tokens": tokens, "requests": reply.requests,
                      "time": {"ended": now(), "seconds": round(reply.seconds, 3)}}  # fmt: skip

    def _count(self, reply: Reply) -> None:
        """Ends the run where nothing is answered any more: it would only use up the samples' attempts."""
        self._failures = self._failures + 1 if reply.answer is None else 0
        if self._failures >= max(20, 3 * self.plan.teacher.concurrency):
            raise InputError(
                f"the teacher gave no answer {self._failures} times in a row, at last: {reply.error}; see "
                "to the endpoint, raise config.attempts, and run the same command again"
            )


def answered(plan: DistillPlan, reply: Reply, truth: Truth) -> Row:
    """{"parsed", "checks", "verdict", "reason", "filter"} of what the teacher wrote, if it did."""
    if reply.answer is None:
        return {"parsed": {}, "checks": {}, "verdict": FAILED, "reason": f"no answer: {reply.error}",
                "filter": plan.filter_hash(truth)}  # fmt: skip
    return {"parsed": parsed_row(plan.format, reply.answer), **plan.check(reply.answer, reply.finish, truth)}


def judged(reply: Reply, last: bool) -> Row:
    """{"verdict", "reason"}: "sound", "unsound: why" on the first line, or else nothing that counts."""
    words = (reply.answer or "").strip().splitlines()[:1]
    line = words[0].strip().strip("*`\"'.").strip() if words else ""
    if line.casefold() == "sound":
        return {"verdict": ACCEPTED, "reason": ""}
    if line.casefold().startswith("unsound"):
        return {"verdict": REJECTED, "reason": f"judge: {line[7:].lstrip(': ')[:200] or 'unsound'}"}
    return {"verdict": REJECTED if last else FAILED, "reason": "judge: gave no verdict"}


def recheck(plan: DistillPlan, record: AppendLog, progress: Progress, truths: dict[str, Truth]) -> int:
    """Looks again at answers whose filter, or what is known of the sample, has changed since; nothing is asked.

    Returns how many there were."""
    changed = 0
    for id, truth in truths.items():
        sample, now_hash = progress.samples.get(id), plan.filter_hash(truth)
        for key, answer in list(sample.answers.items()) if sample else ():
            if answer.filter == now_hash:
                continue
            row = record.at(answer.place)
            if row["answer"] is None:
                decided = {"checks": {}, "verdict": FAILED, "reason": row["reason"], "filter": now_hash}
            else:
                decided = plan.check(row["answer"], row["finish"], truth)
            if decided["verdict"] == PENDING and answer.judge_verdict:
                decided["verdict"] = answer.judge_verdict
                decided["reason"] = "judge: found it unsound" if answer.judge_verdict == REJECTED else ""
            truth_now = truth_row(truth, polarity_of(truth.score, plan.neutral_eps))
            record.append({"kind": "filter", "id": id, "of": key._asdict(), "truth": truth_now, **decided})
            changed += 1
    return changed


def now() -> str:
    """The time, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
