"""A teacher's reasoning traces: read, checked against the truth, and corrected (MSA-Thinker, section III).

One JSON object a line: {"id", "polarity", "think", "score"}, as the teacher wrote them, errors included.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from emsa_jax.answers.answer_format import AnswerFormat, Labelled
from emsa_jax.errors import InputError


@dataclass(frozen=True)
class Trace:
    """One teacher answer about the clip `id`."""

    id: str
    polarity: str
    think: str
    score: float


def read_traces(path: str | Path) -> list[Trace]:
    """All traces of a UTF-8 jsonl file, blank lines left out.

    InputError naming file and line: not JSON, a field absent or of another type, a score that is not finite,
    an id seen before.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = file.read().split("\n")  # not splitlines(): JSON strings may hold U+2028
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{path}: cannot read traces: {reason}; name their file as config.traces, or leave sft out of stages"
        ) from error
    traces, first_seen = [], {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        trace = _read_line(line, f"{path}, line {number}")
        if trace.id in first_seen:
            before = first_seen[trace.id]
            raise InputError(f"{path}, line {number}: id {trace.id!r} stands already on line {before}")
        first_seen[trace.id] = number
        traces.append(trace)
    return traces


def _read_line(line: str, where: str) -> Trace:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not a JSON object: {error}") from error
    if not isinstance(row, dict):
        raise InputError(f"{where}: not a JSON object")
    for field, kind in (("id", str), ("polarity", str), ("think", str), ("score", (int, float))):
        if not isinstance(row.get(field), kind) or isinstance(row.get(field), bool):
            need = "a string" if kind is str else "a number"
            raise InputError(f"{where}: field {field!r} must be {need}, not {row.get(field)!r:.40}")
    try:
        score = float(row["score"])
    except OverflowError:
        score = math.inf
    if not math.isfinite(score):
        raise InputError(f"{where}: field 'score' must be finite")
    return Trace(row["id"], row["polarity"], row["think"], score)


def filter_traces(
    traces: list[Trace], clips: Mapping[str, Labelled], format: AnswerFormat
) -> tuple[list[Trace], dict[str, str]]:
    """Keeps a trace if and only if it agrees with what is true of its clip, as far as that is known
    (`AnswerFormat.trace_error`); then the true score takes the place of the teacher's. clips: id -> clip.

    Returns (kept, rejected): `rejected` gives the reason for every other id, so that they can be counted.
    """
    kept, rejected = [], {}
    for trace in traces:
        clip = clips.get(trace.id)
        truth = format.truth(clip) if clip else None
        if truth is None:
            rejected[trace.id] = "no train clip of this id, or no true score"
        elif why := format.trace_error(trace.polarity, trace.think, trace.score, truth):
            rejected[trace.id] = why
        else:
            kept.append(replace(trace, score=truth.score))
    return kept, rejected
