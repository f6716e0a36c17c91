"""Files of cues: one JSON object, {clip: {"visual": [...], "auditory": [...], "emotional": [...]}}, as the public
scorer of EmoCue-360 takes, or one object a line, {"id": ..., "cues": {...}}. A text in place of a clip's cues is a
description, out of which cues are taken by rule (`answers.described_cues`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from emsa_jax.answers.described_cues import cues_of_text
from emsa_jax.errors import InputError
from emsa_jax.json_file import read_json, read_json_rows

KINDS = ("visual", "auditory", "emotional")
ALIASES = {"audio": "auditory", "global": "emotional"}  # as our own lines name them

Cues = dict[str, list[str]]  # kind -> cues; a kind may be absent, which is not the same as an empty list
Extract = Callable[[Mapping[str, str]], dict[str, Cues]]  # clip -> description to clip -> cues


def by_rule(texts: Mapping[str, str]) -> dict[str, Cues]:
    """Clip -> cues of its description, by rule."""
    return {clip: cues_of_text(text) for clip, text in texts.items()}


def read_cues(path: str | Path, field: str, extract: Extract = by_rule) -> tuple[dict[str, Cues], dict[str, str]]:
    """(clip -> cues, clip -> description, for the clips that have one).

    field: the config field that names the file, for messages. extract: called once, with the descriptions that stand in
      the place of cues.
    Raises: InputError naming the file and the clip, for what is no such file, a kind that does not exist, cues that are
      no strings, a clip that is given twice.
    """
    path, texts = Path(path), {}
    if path.suffix == ".jsonl":
        if not path.exists():
            raise InputError(f"{field}: {path} cannot be read: no such file")
        content, texts = _of_rows(path, read_json_rows(path, "write one object a line"))
    else:
        content = read_json(path, field)
    if not isinstance(content, dict):
        raise InputError(f"{field}: {path} holds no object of clips; write {{clip: {{kind: [cues]}}}}")
    texts = texts | {clip: found for clip, found in content.items() if isinstance(found, str)}
    asked = {clip: found for clip, found in content.items() if isinstance(found, str)}
    given = {clip: _checked(found, f"{path}: clip {clip!r}") for clip, found in content.items() if clip not in asked}
    given |= extract(asked) if asked else {}
    return {clip: given[clip] for clip in content}, texts


def _of_rows(path: Path, rows: list[dict]) -> tuple[dict[str, Any], dict[str, str]]:
    found, texts = {}, {}
    for number, row in enumerate(rows, 1):
        clip, text = row.get("id"), row.get("description")
        if not isinstance(clip, str) or "cues" not in row and not isinstance(text, str):
            raise InputError(f"{path} line {number}: wants an id and cues, or a description to take them from")
        if clip in found:
            raise InputError(f"{path} line {number}: clip {clip!r} is given twice")
        found[clip] = row.get("cues", text)
        if isinstance(text, str):
            texts[clip] = text
    return found, texts


def _checked(found: Any, where: str) -> Cues:
    if not isinstance(found, dict):
        raise InputError(f"{where}: wants lists of cues by kind, or a text, not {found!r:.60}")
    cues: Cues = {}
    for name, listed in found.items():
        kind = ALIASES.get(name, name)
        if kind not in KINDS:
            near = get_close_matches(name, (*KINDS, *ALIASES), 1)
            advice = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(KINDS)}"
            raise InputError(f"{where}: {name!r} is no kind of cue; {advice}")
        if kind in cues:
            raise InputError(f"{where}: {kind} cues are given twice, also as {name!r}")
        wrong = next((cue for cue in listed if not isinstance(cue, str)), None) if isinstance(listed, list) else listed
        if not isinstance(listed, list) or wrong is not None:
            raise InputError(f"{where}: {name} cues must be a list of strings, and {wrong!r:.60} is none")
        cues[kind] = listed
    return cues
