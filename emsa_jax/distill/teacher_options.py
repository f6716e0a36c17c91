"""Who is asked, how, for how much, and what of the answers is kept."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from emsa_jax.errors import InputError

_NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
_OWN = ("model", "messages", "stream", "n", "seed", "temperature", "top_p", "max_tokens", "max_completion_tokens")


@dataclass(frozen=True)
class TeacherOptions:
    """Who writes the traces.

    kind: "chat", any OpenAI-compatible endpoint; "policy", our own (`policy`, `sampling` and `reward` of the job).
    url: up to /v1, as http://localhost:8000/v1. model: as the endpoint names it. key_env: the environment variable
    that holds the key; the key itself is never a field, and never written.
    concurrency: requests under way at once. requests_per_minute, tokens_per_minute: 0 for no limit of our own.
    retries: of a request that got no answer; then its attempt has failed. backoff_seconds, backoff_max: the wait
    before the first, and the longest; doubled each time, with jitter; the endpoint's Retry-After goes before it.
    timeout_seconds: for one answer, to its last byte.
    temperature, top_p, max_tokens: of an answer. limit_name: how the endpoint calls the last. send_seed: whether it
    knows seeds. extra: further fields of a request, as a JSON object: '{"modalities": ["text"]}'.
    video: "frames" as images, "video" as one mp4 (`video_url`: vLLM, SGLang), or "none". audio: "input_audio" (wav),
    "audio_url" (vLLM, SGLang), or "none". max_frames: of those prepared, at equal distances.
    """

    kind: Literal["chat", "policy"] = "chat"
    url: str = ""
    model: str = ""
    key_env: str = "OPENAI_API_KEY"
    concurrency: int = 16
    requests_per_minute: float = 0.0
    tokens_per_minute: float = 0.0
    retries: int = 6
    backoff_seconds: float = 1.0
    backoff_max: float = 60.0
    timeout_seconds: float = 180.0
    temperature: float = 0.8
    top_p: float = 1.0
    max_tokens: int = 1024
    limit_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    send_seed: bool = True
    extra: str = ""
    video: Literal["frames", "video", "none"] = "frames"
    audio: Literal["input_audio", "audio_url", "none"] = "input_audio"
    max_frames: int = 16

    def __post_init__(self) -> None:
        # what may be a key is not repeated: errors are printed, and pasted into reports
        if not _NAME.fullmatch(self.key_env):
            raise InputError(
                "teacher.key_env names an environment variable, such as OPENAI_API_KEY; put the key into "
                "that variable, and out of the command"
            )
        if self.url:
            try:
                parts = urlsplit(self.url)
                port = parts.port
            except ValueError as error:
                raise InputError(f"teacher.url: {error}") from error
            if port == 0:
                raise InputError("teacher.url: nothing can listen at port 0")
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise InputError("teacher.url must begin with http:// or https:// and a host")
            if parts.username or parts.password or parts.query or parts.fragment:
                raise InputError("teacher.url must hold no user, password or query; a key comes from the environment")
        for name in ("concurrency", "max_tokens", "max_frames"):
            if getattr(self, name) < 1:
                raise InputError(f"teacher.{name} must be at least 1, not {getattr(self, name)}")
        for name in ("requests_per_minute", "tokens_per_minute", "retries", "backoff_seconds", "temperature"):
            if getattr(self, name) < 0:
                raise InputError(f"teacher.{name} must be at least 0, not {getattr(self, name)}")
        if self.timeout_seconds <= 0 or self.backoff_max < self.backoff_seconds:
            raise InputError("teacher.timeout_seconds must be positive, and backoff_max at least backoff_seconds")
        if not 0 < self.top_p <= 1:
            raise InputError(f"teacher.top_p must be in (0, 1], not {self.top_p}")
        self.extra_fields  # noqa: B018 (looks at it)

    @property
    def extra_fields(self) -> dict:
        """`extra`, read. Raises InputError where it is no object or sets what has a field of its own."""
        try:
            fields = json.loads(self.extra) if self.extra else {}
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            raise InputError("teacher.extra must be a JSON object")
        if own := sorted(fields.keys() & set(_OWN)):
            raise InputError(f"teacher.extra: {own[0]!r} has a field of its own")
        return fields


@dataclass(frozen=True)
class BudgetOptions:
    """What may be spent on a record, earlier starts included; 0 for no limit. Where the next request might go beyond,
    none is sent, and those under way are awaited.

    requests: retries count. tokens: of prompts and answers. money: at price_prompt and price_answer for a million
    tokens each, in whatever currency.
    """

    requests: int = 0
    tokens: int = 0
    money: float = 0.0
    price_prompt: float = 0.0
    price_answer: float = 0.0

    def __post_init__(self) -> None:
        for name in ("requests", "tokens", "money", "price_prompt", "price_answer"):
            if getattr(self, name) < 0:
                raise InputError(f"budget.{name} must be at least 0, not {getattr(self, name)}")
        if self.money and not (self.price_prompt or self.price_answer):
            raise InputError("budget.money needs price_prompt and price_answer: what a million tokens cost")


@dataclass(frozen=True)
class FilterOptions:
    """When a trace is kept. Form, polarity, score sign and concepts are always looked at.

    modalities: each that the sample has must be spoken of, none that it lacks. leaks: nothing may speak of a label that
    was given; leak_phrases: further phrases that do. min_units, max_units: of the reasoning, in words (Chinese: in
    characters). max_repetition: the share of its runs of four units that stood there before. language: "own", the
    sample's; "any"; or "en", "zh". score_gap: the written score's distance from the true one, as a share of the range;
    0 for any. judge: ask the endpoint whether the reasoning is sound, too.
    """

    modalities: bool = True
    leaks: bool = True
    leak_phrases: tuple[str, ...] = ()
    min_units: int = 10
    max_units: int = 600
    max_repetition: float = 0.3
    language: Literal["own", "any", "en", "zh"] = "own"
    score_gap: float = 0.0
    judge: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.min_units <= self.max_units:
            raise InputError("filter: 0 <= min_units <= max_units does not hold")
        for name in ("max_repetition", "score_gap"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"filter.{name} must be in [0, 1], not {getattr(self, name)}")
