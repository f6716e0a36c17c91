"""Who is asked, how, for how much, and what of the answers is kept."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import Any, ClassVar, Literal
from urllib.parse import unquote, urlsplit

from emsa_jax.config.fields import Options, option
from emsa_jax.errors import InputError

_NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
# names of what must stay secret ("max_tokens" and "stop_token_ids" are none), and how keys of known services begin
_SECRET_NAME = re.compile(
    r"(?i)(^|[-_.])(api|access|secret|private|auth|subscription|x)?[-_]?key$|authori[sz]ation|passw(or)?d|secret|"
    r"credential|cookie|bearer|(^|[-_.])(api|access|auth|id|refresh|session)?[-_]?token$|"
    r"(^|[-_.])(pwd|pass|passphrase|sas|sig|signature|session[-_]?id)$|connection[-_]?string"
)
_SECRET_VALUE = re.compile(
    r"(?i)^\s*(bearer|basic)\s+\S|^(sk|pk|rk|gsk|xai|nvapi)-|^(hf|ghp|gho)_|^(AKIA|AIza|xox[a-z]-|eyJ)|"
    r"(^|\W)((sk|gsk|xai|nvapi|glpat)-[\w-]{6,}|github_pat_|ya29\.)|BEGIN [A-Z ]*PRIVATE KEY|"
    # the user and the password, or the key, of an address
    r"://[^/\s@]*@|[?&;](api[-_]?key|key|(access[-_]?)?token|sig|signature|password|secret)="
)
_OWN = ("model", "messages", "stream", "n", "seed", "temperature", "top_p", "max_tokens", "max_completion_tokens")


def _holds_secret(value: Any, key: str) -> bool:
    """Whether a name or a text anywhere in a JSON value looks like a secret's, or holds the key that is known."""
    if isinstance(value, dict):
        named = any(_SECRET_NAME.search(name) and inside not in (None, "") for name, inside in value.items())
        return named or any(_holds_secret(inside, key) for pair in value.items() for inside in pair)
    if isinstance(value, list):
        return any(_holds_secret(inside, key) for inside in value)
    return isinstance(value, str) and (bool(_SECRET_VALUE.search(value)) or bool(key) and key in value)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


@dataclass(frozen=True)
class TeacherOptions(Options):
    """Who writes the traces."""

    group: ClassVar[str] = "teacher"
    kind: Literal["chat", "policy"] = option(
        "chat", "chat asks any OpenAI-compatible endpoint; policy, a policy of our own, as config.local describes it"
    )
    url: str = option("", "of the endpoint up to /v1, as http://localhost:8000/v1")
    model: str = option("", "the model, as the endpoint names it")
    key_env: str = option(
        "OPENAI_API_KEY",
        "the environment variable that holds the key; the key itself is never a field, and never written",
    )
    concurrency: int = option(16, "requests under way at once", low=1, high=1024)
    requests_per_minute: float = option(0.0, "requests a minute; 0: no limit of our own", unit="1/min", low=0)
    tokens_per_minute: float = option(0.0, "tokens a minute; 0: no limit of our own", unit="1/min", low=0)
    retries: int = option(6, "repetitions of a request that got no answer; then its attempt has failed", low=0)
    backoff_seconds: float = option(
        1.0,
        "the wait before the first retry; doubled each time, with jitter; Retry-After of the endpoint goes before it",
        unit="s",
        low=0,
    )
    backoff_max: float = option(60.0, "the longest wait before a retry", unit="s")
    timeout_seconds: float = option(180.0, "for one answer, to its last byte", unit="s")
    temperature: float = option(0.8, "logits of the teacher are divided by this", low=0)
    top_p: float = option(1.0, "only the likeliest tokens that make up this probability", above=0, high=1)
    max_tokens: int = option(1024, "most tokens of an answer", unit="tokens", low=1)
    limit_name: Literal["max_tokens", "max_completion_tokens"] = option(
        "max_tokens", "how the endpoint calls the largest number of tokens"
    )
    send_seed: bool = option(True, "whether the endpoint knows seeds")
    extra: str = option("", "further fields of a request, as a JSON object")
    video: Literal["frames", "video", "none"] = option(
        "frames", "frames as images, video as one mp4 (video_url of vLLM and SGLang), or none"
    )
    audio: Literal["input_audio", "audio_url", "none"] = option(
        "input_audio", "input_audio (wav), audio_url (vLLM and SGLang), or none"
    )
    max_frames: int = option(16, "frames of a clip that are sent, of those prepared, at equal distances", low=1)

    def __post_init__(self) -> None:
        super().__post_init__()
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
            places = [parts.hostname, *re.split("[/;]", unquote(parts.path))]
            if any(_holds_secret(place, self._key) for place in [*places, unquote(self.url)]):
                raise InputError("teacher.url holds what looks like a key, and it is written into records; take it out")
        if _holds_secret(self.model, self._key):
            raise InputError(
                "teacher.model holds what looks like a key, and it is written into records; put it into the "
                "environment variable that teacher.key_env names"
            )
        if self.timeout_seconds <= 0 or self.backoff_max < self.backoff_seconds:
            raise InputError("teacher.timeout_seconds must be positive, and backoff_max at least backoff_seconds")
        self.extra_fields  # noqa: B018 (looks at it)

    @property
    def _key(self) -> str:
        """The key itself; "" where there is none, or one so short that other texts hold it by chance."""
        key = os.environ.get(self.key_env, "")
        return key if len(key) >= 6 else ""

    @property
    def extra_fields(self) -> dict:
        """`extra`, read. Raises InputError where it is no object, sets what has a field of its own, or holds a secret,
        which is not repeated: what is asked for is written into the record and the run's config."""
        try:
            fields = json.loads(self.extra, parse_constant=_refuse) if self.extra else {}
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            raise InputError("teacher.extra must be a JSON object")
        if own := sorted(fields.keys() & set(_OWN)):
            raise InputError(f"teacher.extra: {own[0]!r} has a field of its own")
        if _holds_secret(fields, self._key):
            raise InputError(
                "teacher.extra holds what looks like a key or a password, and it is written into records; put it into "
                "the environment variable that teacher.key_env names"
            )
        return fields


@dataclass(frozen=True)
class BudgetOptions(Options):
    """What may be spent on a record; where the next request might go beyond, none is sent any more."""

    group: ClassVar[str] = "budget"
    requests: int = option(
        0, "requests of a record, retries and earlier starts included; 0: no limit", low=0, high=10**12
    )
    tokens: int = option(0, "tokens of prompts and answers, earlier starts included; 0: no limit", low=0, high=10**15)
    money: float = option(
        0.0, "what may be spent, earlier starts included, in the currency of the prices; 0: no limit", low=0
    )
    price_prompt: float = option(0.0, "of a million tokens of prompts", low=0)
    price_answer: float = option(0.0, "of a million tokens of answers", low=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.money and not (self.price_prompt or self.price_answer):
            raise InputError("budget.money needs price_prompt and price_answer: what a million tokens cost")


@dataclass(frozen=True)
class FilterOptions(Options):
    """When a trace is kept. Form, polarity, score sign and concepts are always looked at."""

    group: ClassVar[str] = "filter"
    modalities: bool = option(True, "each modality that the sample has must be spoken of, and none that it lacks")
    leaks: bool = option(True, "nothing may speak of a label that was given")
    leak_phrases: tuple[str, ...] = option((), "further phrases that speak of a given label")
    min_units: int = option(10, "fewest words of the reasoning (Chinese: characters)", low=0)
    max_units: int = option(600, "most words of the reasoning (Chinese: characters)", low=0)
    max_repetition: float = option(0.3, "share of its runs of four units that stood there before", low=0, high=1)
    language: Literal["own", "any", "en", "zh"] = option("own", "own, the sample's; any; or en, zh")
    score_gap: float = option(
        0.0, "largest distance of the written score from the true one, as a share of the range; 0: any", low=0, high=1
    )
    judge: bool = option(
        False, "ask the endpoint whether the reasoning is sound, too", source="MSA-Thinker, section III.A"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.min_units <= self.max_units:
            raise InputError("filter: 0 <= min_units <= max_units does not hold")
