"""From the body of a chat request to its answers: media are decoded, the question is made, the engine is asked."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import tempfile
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emsa_jax.data.records import Clip
from emsa_jax.disk import is_full
from emsa_jax.errors import InputError
from emsa_jax.serving.answer_text import AnswerText
from emsa_jax.serving.api_errors import ApiError, bad
from emsa_jax.serving.chat_reply import ReplyWriter, event
from emsa_jax.serving.chat_request import ChatRequest
from emsa_jax.serving.clip_reader import ClipReader, in_one
from emsa_jax.serving.engine import Busy, Closed, Delivery, DrawnToken, Engine, Work
from emsa_jax.serving.media_parts import MediaPart
from emsa_jax.serving.metrics import Metrics
from emsa_jax.serving.opened_policy import OpenedPolicy
from emsa_jax.serving.questions import Question, Turn, as_it_stands, ask_about

RETRY_SECONDS = 1  # after which a client may come again that found the queue full
_Arrivals = asyncio.Queue[tuple[int, Delivery]]


@dataclass
class Asking:
    """A request under way: one answer for each of its `n`."""

    writer: ReplyWriter
    works: list[Work]
    answers: list[AnswerText]
    arrivals: _Arrivals
    begun: float
    asked: float  # when the engine was asked, on the same clock
    metrics: Metrics
    unsaid: list[list[DrawnToken]] = field(default_factory=list)  # tokens whose text is still held back

    def __post_init__(self) -> None:
        self.unsaid = [[] for _ in self.works]

    async def next(self) -> tuple[int, str]:
        """(which answer, the text that it got). Raises ApiError where it cannot be made."""
        index, delivery = await self.arrivals.get()
        if delivery.error:
            raise ApiError(503, f"the answer cannot be made: {delivery.error}", code="engine_error")
        answer = self.answers[index]
        self.unsaid[index] += delivery.tokens
        text = answer.add(delivery)
        if answer.finish:
            self.works[index].cancelled = True  # a stop text may have ended it
        return index, text

    @property
    def is_done(self) -> bool:
        return all(answer.finish for answer in self.answers)

    def cancel(self) -> None:
        """Nobody waits any more."""
        for work in self.works:
            work.cancelled = True

    def waited(self) -> float:
        """Seconds from the question to its first batch."""
        return max(0.0, max(work.started for work in self.works) - self.asked)

    def count(self) -> None:
        """Tells the counters that all answers are made."""
        usage = self.writer.usage(self.answers)
        self.metrics.tokens.labels("prompt").inc(usage["prompt_tokens"])
        self.metrics.tokens.labels("answer").inc(usage["completion_tokens"])
        self.metrics.waited.observe(self.waited())
        self.metrics.seconds.observe(time.monotonic() - self.begun)

    def whole(self) -> dict[str, Any]:
        """The reply that is no stream."""
        return self.writer.whole(self.answers, time.monotonic() - self.begun, self.waited())


class Completions:
    """Answers chat requests. To be used as a context, inside of which media are decoded.

    Attributes:
      name: of the model, as clients know it.
    """

    def __init__(
        self,
        policy: OpenedPolicy,
        engine: Engine,
        metrics: Metrics,
        *,
        name: str,
        media_root: str = "",
        decode_seconds: float = 30.0,
    ) -> None:
        """media_root: below which requests may name files; "": none may. decode_seconds: for one file."""
        self.policy, self.engine, self.metrics, self.name, self.media_root = policy, engine, metrics, name, media_root
        self.created = int(time.time())
        vocabulary = policy.checkpoint.tokenizer.get_vocab()
        self._most_words = engine.programs.shapes[-1].prompt * max(map(len, vocabulary))
        self._reader = ClipReader(policy.prepare, decode_seconds)
        self._threads = ThreadPoolExecutor(max_workers=16, thread_name_prefix="question")

    def __enter__(self) -> Completions:
        self._reader.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._reader.stop()  # a thread that waits for a clip ends, however long its decoding would take
        self._threads.shutdown(cancel_futures=True)
        self._reader.__exit__(*error)

    async def ask(self, request: ChatRequest) -> Asking:
        """Puts a request's question to the engine. Raises ApiError for one that cannot be answered."""
        begun, loop = time.monotonic(), asyncio.get_running_loop()
        if request.model != self.name:
            message = f"there is no model {request.model[:100]!r}; this server has {self.name!r}"
            raise ApiError(404, message, "model", "model_not_found")
        try:
            question = await loop.run_in_executor(self._threads, self._question, request)
        except InputError as error:
            raise bad(str(error), "messages", "invalid_media") from error
        except OSError as error:
            waits = {"retry-after": str(RETRY_SECONDS)}
            what = "its disk is full" if is_full(error) else error.strerror or type(error).__name__
            message = f"the server cannot keep the media of this request while they are decoded: {what}"
            raise ApiError(503, message, code="no_room", headers=waits) from error
        arrivals: _Arrivals = asyncio.Queue()
        seed = secrets.randbits(31) if request.seed is None else request.seed & (2**31 - 1)
        works = [
            Work(
                row=question.row,
                deliver=lambda delivery, n=n: _put(loop, arrivals, n, delivery),
                limit=min(request.max_tokens or self.engine.programs.slots, self.engine.programs.slots),
                temperature=request.temperature,
                top_p=request.top_p,
                seed=seed,
                answer=n,
                likeliest=min(request.likeliest, self.engine.programs.likeliest),
            )
            for n in range(request.n)
        ]
        asked = time.monotonic()
        try:
            self.engine.submit(works)
        except Busy:
            waits = {"retry-after": str(RETRY_SECONDS)}
            raise ApiError(429, "the queue is full; come again", code="queue_full", headers=waits) from None
        except Closed:
            raise ApiError(503, "the server is stopping", code="stopping") from None
        except InputError as error:
            raise bad(str(error), "messages", "prompt_too_long") from error
        writer = ReplyWriter(
            self.policy, request, question, f"chatcmpl-{secrets.token_hex(12)}", int(time.time()), self.name
        )
        answers = [AnswerText(self.policy.checkpoint, request.stop) for _ in works]
        return Asking(writer, works, answers, arrivals, begun, asked, self.metrics)

    def _question(self, request: ChatRequest) -> Question:
        """The prompt of a request; in a thread of its own. Raises ApiError and InputError."""
        self._check_words(request)
        language = request.language or self.policy.language
        with tempfile.TemporaryDirectory(prefix="emsa-") as directory:
            if not request.raw:
                clips = [self._clip(part, Path(directory), language) for part in request.media]
                return ask_about(self.policy, in_one(clips, request.words, language))
            turns = [
                Turn(
                    "system" if message.role == "developer" else message.role,
                    tuple(
                        part if isinstance(part, str) else self._clip(part, Path(directory), language)
                        for part in message.parts
                    ),
                )
                for message in request.messages
            ]
            return as_it_stands(self.policy, turns)

    def _check_words(self, request: ChatRequest) -> None:
        """Raises ApiError for words that are more than a prompt has room for even if each token were the longest one,
        before a tokenizer works on them for minutes."""
        words = request.words if request.raw else " ".join(request.words.split())
        if len(words) > self._most_words:
            raise bad(
                f"the messages have {len(words)} characters, more than the longest prompt has room for "
                f"({self._most_words}): send less, or start the server with larger limits",
                "messages",
                "prompt_too_long",
            )

    def _clip(self, part: MediaPart, directory: Path, language: str) -> Clip:
        """A medium, decoded. Raises ApiError and InputError."""
        if part.path:
            path = part.file_below(self.media_root)
        else:
            place = directory / f"{len(list(directory.iterdir()))}.{part.suffix}"
            place.write_bytes(part.decoded())
            path = str(place)
        if part.kind == "audio":
            return self._reader.read(audio=path, language=language, name=part.where)
        clip = self._reader.read(video=path, language=language, name=part.where)
        if not len(clip.frames) or part.kind == "image" and len(clip.frames) != 1:
            raise InputError(f"{part.where}: it is no {'picture' if part.kind == 'image' else 'video'}")
        return clip


async def stream(asking: Asking) -> AsyncIterator[str]:
    """The events of a reply, text as it is made; as JSON, each answer in one piece."""
    writer, request = asking.writer, asking.writer.request
    try:
        for index in range(len(asking.answers)):
            yield event(writer.chunk(index, {"role": "assistant", "content": ""}))
        while not asking.is_done:
            index, text = await asking.next()
            answer = asking.answers[index]
            if request.fields:
                text = writer.content(answer) if answer.finish else ""
            if text:
                tokens, asking.unsaid[index] = asking.unsaid[index], []
                if answer.finish == "stop" and answer.ended and tokens:
                    tokens = tokens[:-1]
                yield event(writer.chunk(index, {"content": text}, tokens))
            if answer.finish:
                last = writer.chunk(index, {}, finish=answer.finish)
                if asking.is_done:
                    asking.count()
                    whole = asking.whole()
                    last["emsa"] = whole["emsa"]
                yield event(last)
        if request.include_usage:
            yield event(writer.usage_chunk(asking.answers))
    except ApiError as error:
        yield event(error.body())
    finally:
        asking.cancel()
    yield event("[DONE]")


def _put(loop: asyncio.AbstractEventLoop, arrivals: _Arrivals, index: int, delivery: Delivery) -> None:
    """Hands a delivery from the engine's thread to the loop, which may have ended."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(arrivals.put_nowait, (index, delivery))
