"""Cues that a teacher described, as lines of our own jsonl: for EmoCue-360, and as captions for stages 1 and 2."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from emsa_jax.answers.answer_format import AnswerFormat
from emsa_jax.answers.recorded_traces import accepted_traces
from emsa_jax.answers.traces import Trace
from emsa_jax.data.records import Entry
from emsa_jax.distill.distill_plan import DistillPlan, LabelledSample
from emsa_jax.manifest import write_atomic

CUES = "cues.jsonl"
_NAMES = {"visual": "visual", "auditory": "audio", "emotional": "global"}  # kind -> its name in a line


def write_cues(record: Path, plan: DistillPlan, samples: Iterable[LabelledSample]) -> None:
    """Writes the lines of the traces that stand beside a record, where answers describe cues."""
    if "cue_f1" not in plan.format.parts:
        return
    lines = cue_lines(accepted_traces(record), {one.entry.id: one.entry for one in samples}, plan.format)
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    write_atomic(record.with_name(CUES), text.encode())


def cue_lines(traces: Iterable[Trace], entries: Mapping[str, Entry], format: AnswerFormat) -> list[dict]:
    """A line for each trace: {"id", "subtitle", "description", "cues", "captions"}.

    description: the answer as it is learned. cues: {"visual", "audio", "global"} -> sentences. captions: {"visual",
    "audio"} -> what stage 1 and stage 2 compare a clip with, of the kinds that there are.
    entries: clip id -> its entry."""
    lines = []
    for trace in traces:
        if trace.id not in entries:
            continue
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
