"""The plain table, csv or jsonl, of paths and labels, for every other data set."""

from pathlib import Path

from emsa_jax.data.readers import clips
from emsa_jax.data.readers.base import Collection, ReadOptions
from emsa_jax.data.readers.cells import (
    class_of,
    concepts_of,
    id_of,
    known_score_of,
    language_of,
    score_of,
    split_of,
    times_of,
)
from emsa_jax.data.readers.rows import rows
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError

NEEDED = ("id", ("text", "video", "audio"), ("label", "class"), "mode")
OPTIONAL = ("start", "end", "concepts", "speaker", "reasoning", "language")


def read_plain(path: Path, options: ReadOptions) -> list[Sample]:
    """path: a csv or jsonl with `id`, `mode`, any of `text`, `video`, `audio` (paths relative to the file, or absolute)
    and any of `label` (the score) and `class`; and perhaps `start` and `end` (seconds within the file), `concepts`
    (`tone=happy; scenario=vlogs`, or a json object), `speaker`, `reasoning`, `language`.

    A row with a class needs no score. Only test rows may have neither, and train rows if `options.reading.unlabelled`.
    """
    found = Collection(path, options)
    if path.is_dir():
        raise InputError(f"{path} is a directory; the plain reader takes a csv or jsonl file")
    for where, row in rows(path, NEEDED, OPTIONAL):
        get = {name: cell.strip() for name, cell in row.items()}.get
        split, label, score = split_of(row["mode"], where), class_of(get("class", ""), "class", where), get("label", "")
        may_lack = bool(label) or options.reading.unlabelled and split == "train"
        video, audio = (clips.located(path.parent, get(c), where) if get(c) else "" for c in ("video", "audio"))
        if not (get("text") or video or audio):
            raise InputError(f"{where}: text, video and audio are all empty")
        start, end = times_of(get("start", ""), get("end", ""), where)
        sample = Sample(
            id=id_of(row["id"], "id", where),
            text=row.get("text", ""),
            score=score_of(score, options.score_range, where)
            if may_lack
            else known_score_of(score, split, options.score_range, where),
            split=split,
            video=video,
            audio=audio,
            language=language_of(get("language") or options.language, where),
            start=start,
            end=end,
            label=label,
            concepts=concepts_of(get("concepts", ""), where),
            speaker=get("speaker", ""),
            reasoning=get("reasoning", ""),
        )
        found.add(where, sample)
    return found.samples()
