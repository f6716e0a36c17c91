"""Requests to a chat endpoint that follows OpenAI's protocol, and what to do when it does not answer.

A request is tried again, with backoff and jitter, where the connection fails or breaks, where the answer takes too long
or does not follow the protocol, and for the statuses 408, 409, 425, 429 and 5xx. A Retry-After holds back all requests,
since it is meant for the account. 401, 403 and 404 end the run. The key is read from the environment, sent in one
header, and removed from every text that comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp

from emsa_jax.distill.network import key_from, proxy_for, raise_file_limit
from emsa_jax.distill.teacher_options import TeacherOptions
from emsa_jax.errors import InputError

AGAIN = frozenset({408, 409, 425, 429, *range(500, 600)})
CONNECT_SECONDS = 15.0
MOST_BYTES = 16 * 2**20  # of one response
LONGEST_WAIT = 600.0  # seconds; a Retry-After beyond it is cut


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What became of a request. answer: None where there is none; then `error` says why."""

    answer: str | None
    finish: str = ""
    prompt_tokens: int = 0
    answer_tokens: int = 0
    requests: int = 1  # how many were sent
    seconds: float = 0.0  # of the last request
    error: str = ""
    refused: bool = False  # the endpoint will never answer this request


class Unreachable(InputError):
    """Nothing listens at the endpoint, or it refuses us."""


class _Again(Exception):
    """A request that may succeed if it is sent again. wait: the seconds that the endpoint asks for, 0.0 for none."""

    def __init__(self, reason: str, wait: float = 0.0, connected: bool = True) -> None:
        super().__init__(reason)
        self.wait, self.connected = wait, connected


class ChatClient:
    """Sends requests, and sends them again where that makes sense. To be used as an asynchronous context."""

    def __init__(self, options: TeacherOptions, jitter: Callable[[], float] = random.random) -> None:
        self.options, self._jitter = options, jitter
        self._key = key_from(options.key_env)
        self._url = options.url.rstrip("/") + "/chat/completions"
        self._proxy, self._proxy_auth = proxy_for(self._url) if options.url else (None, None)
        self.stopped = asyncio.Event()  # once set, no wait goes on
        self._closed_until = 0.0
        self._ever_answered = False
        self._http: aiohttp.ClientSession | None = None  # made inside the loop

    async def __aenter__(self) -> ChatClient:
        raise_file_limit(self.options.concurrency)
        # the session has no headers of its own: a proxy would get them too, and with them the key
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def ask(self, body: bytes, may_send: Callable[[], Awaitable[None]] | None = None) -> Reply:
        """The answer to a request body. may_send: awaited before each request, retries included; it may raise.

        Raises Unreachable where no request can succeed.
        """
        reason, connected = "", False
        for made in range(self.options.retries + 1):
            await self._gate()
            if may_send is not None:
                await may_send()
            begun = time.monotonic()
            try:
                async with asyncio.timeout(self.options.timeout_seconds):
                    reply = await self._once(body, made)
            except TimeoutError:
                again = _Again("no answer in time")
            except _Again as error:
                again = error
            else:
                return replace(reply, requests=made + 1, seconds=time.monotonic() - begun)
            reason, connected = str(again), connected or again.connected
            if not connected and not self._ever_answered and made >= 2:  # a wrong address, rather than a pause
                break
            if made < self.options.retries:
                await self._pause(self._wait(made, again.wait))
        if not connected:
            raise Unreachable(
                f"teacher.url: nothing answers at {self.options.url} ({reason}); start the endpoint, and "
                "run the same command again"
            )
        return Reply(answer=None, requests=self.options.retries + 1, error=reason, seconds=time.monotonic() - begun)

    def redact(self, text: str) -> str:
        """The text without the key, which an endpoint might repeat."""
        return text.replace(self._key, "[key]") if self._key else text

    async def _gate(self) -> None:
        while (wait := self._closed_until - time.monotonic()) > 0:
            await self._pause(wait * (1 + 0.1 * self._jitter()))
            if self.stopped.is_set():
                return

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopped.wait(), seconds)

    def _wait(self, made: int, asked: float) -> float:
        """Seconds before the next request: what the endpoint asks for, or between half of the backoff and all of it."""
        if asked:
            return asked * (1 + 0.1 * self._jitter())
        longest = min(self.options.backoff_max, self.options.backoff_seconds * 2**made)
        return longest * (0.5 + 0.5 * self._jitter())

    async def _once(self, body: bytes, made: int) -> Reply:
        headers = {
            "content-type": "application/json",
            "x-stainless-retry-count": str(made),
        }  # as the public client sends it
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        content = bytearray()
        try:
            async with self._http.post(
                self._url,
                data=io.BytesIO(body),
                headers=headers,
                allow_redirects=False,
                proxy=self._proxy,
                proxy_auth=self._proxy_auth,
            ) as response:
                async for chunk in response.content.iter_any():
                    content += chunk
                    if len(content) > MOST_BYTES:
                        raise _Again("an answer without an end")
        except (aiohttp.InvalidURL, UnicodeError) as error:
            raise Unreachable(f"teacher.url: {self.options.url} is no address") from error
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise _Again("cannot connect", connected=False) from error
        except aiohttp.ClientError as error:  # its name alone: its message may hold an address or more
            raise _Again(f"the connection broke ({type(error).__name__})") from error
        self._ever_answered = True
        status = response.status
        if status in AGAIN:
            wait = retry_after(response.headers)
            if wait and status in (429, 503):
                self._closed_until = max(self._closed_until, time.monotonic() + wait)
            raise _Again(f"HTTP {status}", wait)
        if status in (401, 403, 404):
            key = f"the key in {self.options.key_env}" + ("" if self._key else ", which is not set")
            where = "" if self.options.url.rstrip("/").endswith("/v1") else " (most end in /v1)"
            raise Unreachable(
                f"{self.options.url} answers HTTP {status}: {self._message(content)}; "
                f"check teacher.url{where}, teacher.model and {key}"
            )
        if status != 200:
            return Reply(answer=None, error=f"HTTP {status}", refused=True)
        return self._read(bytes(content))

    def _read(self, content: bytes) -> Reply:
        """The answer in a response. Raises _Again where the content does not follow the protocol."""
        try:
            body = json.loads(content)
            choice = body["choices"][0]
            message = choice["message"]
            text = message.get("content")
            if isinstance(text, list):  # parts, as some endpoints answer
                text = "".join(part.get("text", "") for part in text)
            usage = body.get("usage") or {}
            tokens = [usage.get(name) or 0 for name in ("prompt_tokens", "completion_tokens")]
            if not isinstance(text, str | None) or not all(isinstance(n, int) and n >= 0 for n in tokens):
                raise TypeError("content or usage")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise _Again("malformed JSON") from error
        finish = choice.get("finish_reason")
        finish = self.redact(finish)[:40] if isinstance(finish, str) else ""
        if text is None:  # a refusal is an answer too: the same question would be refused again
            refusal = message.get("refusal")
            text, finish = refusal if isinstance(refusal, str) else "", finish if finish != "stop" else "refusal"
        text = self.redact(text.encode("utf-8", "replace").decode())  # half of a surrogate pair is no character
        return Reply(answer=text, finish=finish, prompt_tokens=tokens[0], answer_tokens=tokens[1])

    def _message(self, content: bytes) -> str:
        try:
            text = json.loads(content)["error"]["message"]
        except (ValueError, LookupError, TypeError, RecursionError):
            text = ""
        return self.redact(str(text))[:200] or "no reason given"


def retry_after(headers: Mapping[str, str]) -> float:
    """The seconds for which a response asks to wait, by retry-after-ms or Retry-After (seconds or a date), else 0.0."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = headers.get(name, "")
        try:
            seconds = float(value) * unit
        except ValueError:
            try:
                seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
            except (ValueError, TypeError):
                continue
        if seconds > 0:  # not for nan either
            return min(seconds, LONGEST_WAIT)
    return 0.0
