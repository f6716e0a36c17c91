"""Cues that a teacher described, as lines of our own jsonl: for EmoCue-360, and as captions for stages 1 and 2."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from emsa_jax.answers.answer_format import AnswerFormat
from emsa_jax.answers.traces import Trace
from emsa_jax.data.records import Entry

CUES = "cues.jsonl"
_NAMES = {"visual": "visual", "auditory": "audio", "emotional": "global"}  # kind -> its name in a line


def cue_lines(traces: Iterable[Trace], entries: Mapping[str, Entry], format: AnswerFormat) -> list[dict]:
    """A line for each trace: {"id", "subtitle", "description", "cues", "captions"}.

    description: the answer as it is learned. cues: {"visual", "audio", "global"} -> sentences. captions: {"visual",
    "audio"} -> what stage 1 and stage 2 compare a clip with, of the kinds that there are.
    entries: clip id -> its entry."""
    lines = []
    for trace in traces:
        description = format.write(trace.polarity, trace.think, trace.score)
        found: dict[str, list[str]] = {name: [] for name in _NAMES.values()}
        for kind, cue in format.parse(description).cues:
            found[_NAMES[kind]].append(cue)
        captions = {kind: " ".join(found[kind]) for kind in ("visual", "audio") if found[kind]}
        entry = entries[trace.id]
        lines.append(
            {"id": trace.id, "subtitle": entry.text, "description": description, "cues": found, "captions": captions}
        )
    return lines
