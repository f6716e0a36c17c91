"""The body of a chat request, checked: OpenAI's fields, vLLM's further kinds of parts, and a few of ours.

What would change the answer and is not supported is refused; other fields that are unknown are let pass, as vLLM does.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from emsa_jax.rollout.rollout_options import COLDEST
from emsa_jax.serving.api_errors import ApiError, bad
from emsa_jax.serving.media_parts import MediaPart, media_part

ROLES = ("system", "developer", "user", "assistant")
FIELDS = ("polarity", "score", "reasoning", "sentiment")  # of answers as JSON
DEFAULT_FIELDS = FIELDS[:3]
MOST_MESSAGES, MOST_PARTS, MOST_STOPS, MOST_LIKELIEST = 128, 256, 16, 20
# each has to be absent, null, or one of these
_WITHOUT_EFFECT: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "logit_bias": ({},),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "audio": (),
    "modalities": (["text"],),
    "best_of": (1,),
    "use_beam_search": (False,),
    "min_p": (0,),
    "top_k": (-1, 0),
    "min_tokens": (0,),
}


@dataclass(frozen=True)
class Message:
    """A message: its texts and media, in order."""

    role: str
    parts: tuple[str | MediaPart, ...]


@dataclass(frozen=True, kw_only=True)
class ChatRequest:
    """A request, of which nothing has been decoded yet.

    Attributes:
      model: the name that the client gives.
      raw: whether the messages are the prompt as they stand, and no words for the policy's own question.
      max_tokens: None for as many as the server makes. seed: None for any.
      likeliest: alternatives of each token; logprobs: whether log-probabilities are told at all.
      fields: of an answer as JSON; () for the answer as text.
      language: in which the policy's question is asked; "" for its own.
    """

    model: str
    messages: tuple[Message, ...]
    raw: bool = False
    stream: bool = False
    include_usage: bool = False
    n: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    logprobs: bool = False
    likeliest: int = 0
    fields: tuple[str, ...] = ()
    language: str = ""
    show_prompt: bool = False

    @property
    def media(self) -> list[MediaPart]:
        """All media, in order."""
        return [part for message in self.messages for part in message.parts if isinstance(part, MediaPart)]

    @property
    def words(self) -> str:
        """All texts, in order."""
        return "\n".join(part for message in self.messages for part in message.parts if isinstance(part, str))


def read_request(content: bytes, max_answers: int) -> ChatRequest:
    """Reads a request body. Raises ApiError naming the field. max_answers: the largest `n`."""
    body = _parsed(content)
    _refuse_what_has_no_effect(body)
    messages = _messages(body.get("messages"))
    raw = _flag(body, "raw") or any(message.role in ("system", "developer") for message in messages)
    if not raw and (len(messages) > 1 or messages[0].role != "user"):
        raise bad(
            "without a system message, the policy's own question is asked about one user message; for a chat as it "
            "stands add a system message, or raw=true",
            "messages",
        )
    stream, options = _flag(body, "stream"), body.get("stream_options")
    if options is not None and not (isinstance(options, dict) and stream):
        raise bad("stream_options is an object, for stream=true", "stream_options")
    logprobs, likeliest = _flag(body, "logprobs"), _number(body, "top_logprobs", 0, 0, MOST_LIKELIEST, whole=True)
    if likeliest and not logprobs:
        raise bad("top_logprobs needs logprobs=true", "top_logprobs")
    temperature = _number(body, "temperature", 0.0, 0, 100)
    language = body.get("language") or ""
    if language not in ("", "en", "zh"):
        raise bad("language is en or zh", "language")
    return ChatRequest(
        model=_model(body.get("model")),
        messages=messages,
        raw=raw,
        stream=stream,
        include_usage=bool(options) and _flag(options, "include_usage"),
        n=_number(body, "n", 1, 1, max_answers, whole=True),
        temperature=max(temperature, COLDEST) if temperature else 0.0,
        top_p=max(_number(body, "top_p", 1.0, 0, 1), 1e-6),
        max_tokens=_max_tokens(body),
        stop=_stops(body.get("stop")),
        seed=_number(body, "seed", None, -(2**63), 2**63 - 1, whole=True),
        logprobs=logprobs,
        likeliest=likeliest,
        fields=_fields(body.get("response_format")),
        language=language,
        show_prompt=_flag(body, "show_prompt"),
    )


def _parsed(content: bytes) -> dict[str, Any]:
    def refuse(name: str) -> NoReturn:
        raise ValueError(f"{name} is no JSON")

    try:
        body = json.loads(content, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise bad(f"the body is no JSON ({str(error)[:100]})", code="invalid_json") from error
    if not isinstance(body, dict):
        raise bad("the body must be a JSON object", code="invalid_json")
    return body


def _refuse_what_has_no_effect(body: dict[str, Any]) -> None:
    for name, allowed in _WITHOUT_EFFECT.items():
        value = body.get(name)
        if value is not None and not any(
            value == one and isinstance(value, bool) == isinstance(one, bool) for one in allowed
        ):
            raise bad(f"{name} is not supported", name, "unsupported_parameter")


def _messages(value: Any) -> tuple[Message, ...]:
    if not (isinstance(value, list) and 0 < len(value) <= MOST_MESSAGES):
        raise bad(f"messages must be a list of 1 to {MOST_MESSAGES} messages", "messages")
    return tuple(_message(message, f"messages[{i}]") for i, message in enumerate(value))


def _message(value: Any, where: str) -> Message:
    if not isinstance(value, dict):
        raise bad(f"{where} must be an object", where)
    role, content = value.get("role"), value.get("content")
    if role not in ROLES:
        raise bad(f"{where}.role must be one of {', '.join(ROLES)}", f"{where}.role")
    if isinstance(content, str):
        return Message(role, (_text(content),))
    if content is None and role == "assistant":
        return Message(role, ())
    if not (isinstance(content, list) and len(content) <= MOST_PARTS):
        raise bad(f"{where}.content must be a text or a list of at most {MOST_PARTS} parts", f"{where}.content")
    parts = tuple(_part(part, f"{where}.content[{i}]") for i, part in enumerate(content))
    if role != "user" and any(isinstance(part, MediaPart) for part in parts):
        raise bad(f"{where}: only a user's message can have media", f"{where}.content")
    return Message(role, parts)


def _part(value: Any, where: str) -> str | MediaPart:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise bad(f"{where} must be an object with a type", where)
    if value["type"] == "text":
        if not isinstance(value.get("text"), str):
            raise bad(f"{where}.text must be a text", f"{where}.text")
        return _text(value["text"])
    return media_part(value, where)


def _text(value: str) -> str:
    """A text whose characters are all there: half of a surrogate pair is none."""
    return value.encode("utf-8", "replace").decode()


def _model(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise bad("model must name a model; GET /v1/models lists it", "model")
    return value


def _flag(body: dict[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise bad(f"{name} must be true or false", name)
    return bool(value)


def _number(body: dict[str, Any], name: str, default: Any, low: float, high: float, whole: bool = False) -> Any:
    value = body.get(name)
    if value is None:
        return default
    kinds = int if whole else int | float
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        raise bad(f"{name} must be a {'whole ' if whole else ''}number from {low:g} to {high:g}", name)
    return value


def _max_tokens(body: dict[str, Any]) -> int | None:
    found = [_number(body, name, None, 1, 2**31, whole=True) for name in ("max_completion_tokens", "max_tokens")]
    return next((value for value in found if value is not None), None)


def _stops(value: Any) -> tuple[str, ...]:
    given: Sequence[Any] = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(given, list) or len(given) > MOST_STOPS or not all(isinstance(one, str) and one for one in given):
        raise bad(f"stop must be a text, or a list of at most {MOST_STOPS} texts that are not empty", "stop")
    return tuple(_text(one) for one in given)


def _fields(value: Any) -> tuple[str, ...]:
    """The fields of an answer as JSON, of a response_format."""
    if value is None:
        return ()
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "text":
        return ()
    if kind == "json_object":
        return DEFAULT_FIELDS
    if kind != "json_schema":
        raise bad("response_format.type must be text, json_object or json_schema", "response_format")
    described = value.get("json_schema")
    schema = described.get("schema") if isinstance(described, dict) else None
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict) or not properties:
        raise bad("response_format.json_schema.schema must have properties", "response_format")
    if unknown := [name for name in properties if name not in FIELDS]:
        raise ApiError(
            400,
            f"the schema asks for {unknown[0][:80]!r}, but an answer has {', '.join(FIELDS)} alone",
            "response_format",
            "unsupported_schema",
        )
    return tuple(properties)
