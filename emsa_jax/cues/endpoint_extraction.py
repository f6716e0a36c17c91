"""Cues out of descriptions by a chat endpoint: the public way, with prompts in our own words.

Each text is one request; the answer has to be a JSON object with exactly the three lists, and is asked for once more
where it is not. Answers are kept in a file under the hash of what was asked, so that no text is ever paid for twice.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from emsa_jax.append_log import AppendLog, CheckedJsonLines
from emsa_jax.config.edge import digest
from emsa_jax.cues.cue_files import KINDS
from emsa_jax.distill.budget import Budget, OutOfBudget
from emsa_jax.distill.client import ChatClient, Reply
from emsa_jax.distill.progress import Spent
from emsa_jax.distill.teacher_options import BudgetOptions, TeacherOptions
from emsa_jax.errors import InputError

TRIES = 2
FORM = (
    'Answer with one JSON object and nothing else: {"visual": [...], "auditory": [...], "emotional": [...]}. Each'
    " entry is one short sentence in the language of the description. A list may be empty. Add nothing that is "
    "not written there."
)
# five ways to ask the same, of which a user may try how much the wording matters
PROMPTS = (
    "You read a description of how somebody in a clip feels. List the cues that it names: visual ones (face, "
    "gaze, gestures, posture, surroundings), auditory ones (voice, pace, volume, sounds), and what it concludes "
    "about emotion.",
    "Take the description apart. Under visual put every observation that eyes could make, under auditory every "
    "one that ears could make, and under emotional every statement about feelings, moods or intentions.",
    "From the text below, collect evidence. visual: what is seen. auditory: what is heard, apart from the words "
    "that are spoken. emotional: the states that are inferred. Split sentences that hold several observations.",
    "An annotator described a clip. Copy out, one fact at a time, what the annotator saw, what the annotator "
    "heard, and which emotions the annotator took from it.",
    "Sort the statements of this description by the sense that they rest on: sight, hearing, or neither because "
    "they speak of an emotion. Leave out statements about subtitles.",
)


@dataclass(frozen=True)
class Extraction:
    """How cues are asked for. prompt: 1 to 5. cache: the file of answers."""

    teacher: TeacherOptions
    budget: BudgetOptions
    prompt: int
    cache: Path


def cues_by_endpoint(texts: Mapping[str, str], how: Extraction) -> dict[str, dict[str, list[str]]]:
    """Clip -> cues of its description.

    Raises: InputError where the endpoint cannot be reached, where the budget does not reach, and naming a clip for
      which no readable answer came; what was answered stays in the cache.
    """
    answers: dict[str, str] = {}
    how.cache.parent.mkdir(parents=True, exist_ok=True)
    log = AppendLog(how.cache, CheckedJsonLines(), lambda row, _: answers.update({row["asked"]: row["answer"]}))
    try:
        return asyncio.run(_all(texts, how, answers, log))
    finally:
        log.close()


async def _all(texts: Mapping[str, str], how: Extraction, answers: dict[str, str], log: AppendLog) -> dict:
    budget, queue = Budget(how.budget, Spent()), iter(texts.items())
    found: dict[str, dict] = {}
    failed: dict[str, str] = {}

    async def work(client: ChatClient) -> None:
        for clip, text in queue:
            read = await _read(client, text, how, budget, answers, log)
            (failed if isinstance(read, str) else found)[clip] = read

    async with ChatClient(how.teacher) as client:
        tasks = [asyncio.create_task(work(client)) for _ in range(min(how.teacher.concurrency, len(texts)))]
        ended = await asyncio.gather(*tasks, return_exceptions=True)  # all of them: what is under way is kept
    for error in filter(None, ended):
        if isinstance(error, OutOfBudget):
            raise InputError(
                f"{error} is used up: {len(found)} of {len(texts)} texts are read, and kept in {how.cache}; raise it, "
                "and run the same command again"
            ) from error
        raise error
    if failed:
        clip, reason = next(iter(failed.items()))
        raise InputError(
            f"the cues of {len(failed)} of {len(texts)} texts were not read, such as of clip {clip!r} ({reason}); the "
            f"others are kept in {how.cache}: run the same command again, or take another config.prompt"
        )
    return {clip: found[clip] for clip in texts}


async def _read(
    client: ChatClient, text: str, how: Extraction, budget: Budget, answers: dict[str, str], log: AppendLog
) -> dict[str, list[str]] | str:
    """The cues of a text, or why there are none."""
    for attempt in range(TRIES):
        body = _body(text, how, attempt)
        asked = digest(body)
        if asked not in answers:
            reply = await _ask(client, body, how, budget)
            if reply.answer is None:
                return reply.error
            log.append({"asked": asked, "answer": reply.answer, "model": how.teacher.model})
        if (cues := parse_cues(answers[asked])) is not None:
            return cues
    return "the answer is no JSON object of three lists of texts"


async def _ask(client: ChatClient, body: dict, how: Extraction, budget: Budget) -> Reply:
    """Asks within the budget, and counts what it cost."""
    content = json.dumps(body)
    held, sent = budget.reserve(len(content) / 4, how.teacher.max_tokens), 0

    async def before_sending() -> None:
        nonlocal sent
        if sent:
            budget.retry(held)
        sent += 1

    try:
        reply = await client.ask(content.encode(), before_sending)
        budget.spent.prompt_tokens += reply.prompt_tokens
        budget.spent.answer_tokens += reply.answer_tokens
        return reply
    finally:
        budget.spent.requests += sent
        budget.release(held)


def _body(text: str, how: Extraction, attempt: int) -> dict:
    """A request, which is the same for the same text, prompt, teacher and attempt."""
    teacher = how.teacher
    body = {"model": teacher.model, "temperature": teacher.temperature, "top_p": teacher.top_p}
    body |= {teacher.limit_name: teacher.max_tokens, "response_format": {"type": "json_object"}}
    body |= ({"seed": attempt} if teacher.send_seed else {}) | teacher.extra_fields
    system = f"{PROMPTS[how.prompt - 1]}\n{FORM}"
    if attempt:
        system += " The last answer did not have this form."
    return body | {"messages": [{"role": "system", "content": system}, {"role": "user", "content": text}]}


def parse_cues(answer: str) -> dict[str, list[str]] | None:
    """The three lists of an answer, in code fences or not; None for what is no object with exactly them."""
    text = answer.strip()
    if text.startswith("```"):
        text = text.strip("`").removeprefix("json")
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(read, dict) or set(read) != set(KINDS):
        return None
    if not all(isinstance(cues, list) and all(isinstance(cue, str) for cue in cues) for cues in read.values()):
        return None
    return {kind: [" ".join(cue.split()) for cue in read[kind] if cue.strip()] for kind in KINDS}
