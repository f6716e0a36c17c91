"""A teacher's reasoning traces: read, checked against the truth, and corrected (MSA-Thinker, section III).

One JSON object a line: {"id", "polarity", "think", "score"}, as the teacher wrote them, errors included.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from emsa_jax.answers.formats import CLASS_FORMATS, Format
from emsa_jax.answers.labels import polarity_of
from emsa_jax.answers.scores import write_score
from emsa_jax.errors import InputError


@dataclass(frozen=True)
class Trace:
    """One teacher answer about the clip `id`."""

    id: str
    polarity: str
    think: str
    score: float


def read_traces(path) -> list[Trace]:
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
    traces: list[Trace],
    true_scores: Mapping[str, float | None],
    format: Format,
    neutral_eps: float = 0.0,
    true_concepts: Mapping[str, Sequence[tuple[str, str]]] | None = None,
) -> tuple[list[Trace], dict[str, str]]:
    """Keeps a trace iff the teacher's polarity is the true one and its score agrees with it; then the true
    score takes the place of the teacher's. For formats that name a class, its score must be of the true class; for
    those with concepts, each that it marks must have its true label, as far as that is known (`true_concepts`).

    Returns (kept, rejected): `rejected` gives the reason for every other id, so that they can be counted.
    """
    kept, rejected = [], {}
    for trace in traces:
        why = _objection(trace, true_scores.get(trace.id), format, neutral_eps, (true_concepts or {}).get(trace.id, ()))
        if why:
            rejected[trace.id] = why
        else:
            kept.append(replace(trace, score=float(true_scores[trace.id])))
    return kept, rejected


def _objection(trace: Trace, truth: float | None, format: Format, neutral_eps: float, concepts) -> str:
    if truth is None:
        return "no train clip of this id, or no true score"
    if format.name in CLASS_FORMATS:
        return _class_objection(trace, truth, format, concepts)
    if trace.polarity != polarity_of(truth, neutral_eps):
        return "the teacher's polarity is wrong"
    if polarity_of(trace.score, neutral_eps) != trace.polarity:
        return "the teacher's score contradicts its polarity"
    try:
        format.write(trace.polarity, trace.think, truth)
    except InputError:
        return f"cannot be written as an answer with score {write_score(truth)}"
    return ""


def _class_objection(trace: Trace, score: float, format: Format, concepts) -> str:
    truth = format.truth(score, concepts)
    low, high = format.score_range
    if format.truth(min(max(trace.score, low), high), ()).sentiment != truth.sentiment:
        return "the teacher's sentiment is wrong"
    try:
        parsed = format.parse(format.write(trace.polarity, trace.think, score))
    except InputError:
        return f"cannot be written as an answer with sentiment {truth.sentiment}"
    wrong = [name for name, label in parsed.concepts if dict(truth.concepts).get(name, label) != label]
    return f"the teacher's {wrong[0]} is wrong" if wrong else ""
