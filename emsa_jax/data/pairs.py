"""Lists of clips with captions: one JSON object a line, {"id", "path", "caption"}, with "split" where it is not train,
and "label", a class, where probes are to tell classes.
Paths count from the directory of the list."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from emsa_jax.errors import InputError
from emsa_jax.json_file import read_json_rows

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Pair:
    """A clip and what somebody wrote of it. path: of a video or a sound file. label: its class, "" for none."""

    id: str
    path: Path
    caption: str
    split: str = "train"
    label: str = ""


def read_pairs(path: str | Path, field: str) -> list[Pair]:
    """The pairs of a list, in its order.

    field: the config field that names it, for messages.
    Raises: InputError naming the file and the line: no such list, a field that is missing or no text, a caption without
      words, an id that is given twice, a clip that is not there, fewer than two clips to train on.
    """
    path, pairs = Path(path), []
    if not path.exists():
        raise InputError(f"{field}: {path} cannot be read: no such file")
    for number, row in enumerate(read_json_rows(path, "write one object a line"), 1):
        where, split = f"{path} line {number}", row.get("split", "train")
        for name in ("id", "path", "caption"):
            if not isinstance(row.get(name), str) or not row[name].strip():
                raise InputError(f"{where}: {name} is missing, or no text")
        if not isinstance(row.get("label", ""), str):
            raise InputError(f"{where}: label is no text")
        if split not in SPLITS:
            raise InputError(f"{where}: split {split!r} is none of {', '.join(SPLITS)}")
        clip = path.parent / row["path"]
        if not clip.is_file():
            raise InputError(f"{where}: {clip} is not there")
        pairs.append(Pair(row["id"], clip, row["caption"], split, row.get("label", "").strip()))
    ids = [pair.id for pair in pairs]
    if twice := next((id for id in ids if ids.count(id) > 1), None) if len(set(ids)) < len(ids) else None:
        raise InputError(f"{path}: clip {twice!r} is given twice")
    if sum(pair.split == "train" for pair in pairs) < 2:
        raise InputError(f"{path}: at least two clips of split train are needed, since each is told from the others")
    return pairs
