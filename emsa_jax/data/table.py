"""The plain table: a csv `id,text,label,mode,video,audio`, paths relative to it and possibly empty."""

from pathlib import Path

from emsa_jax.data import labels_csv
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError

COLUMNS = ("id", "text", "label", "mode", "video", "audio")


def read_table(path: str | Path, score_range: tuple[float, float], language: str) -> list[Sample]:
    """Samples in the order of the rows. An optional column `language` overrides the argument.

    Raises InputError, naming file and line, for a missing column, duplicate id, unreadable or outlying label,
    unknown mode or language, or a row with neither text nor media. A named file need not exist: prepare sets
    the row aside.
    """
    path = Path(path).absolute()
    ids, samples = labels_csv.UniqueIds(), []
    for where, row in labels_csv.rows(path, COLUMNS):
        split = labels_csv.split_of(row["mode"], where)
        video, audio = (_path(path.parent, row[c].strip(), where) for c in ("video", "audio"))
        if not (row["text"].strip() or video or audio):
            raise InputError(f"{where}: text, video and audio are all empty")
        samples.append(
            Sample(
                id=ids.add(row["id"].strip(), where),
                text=row["text"],
                score=labels_csv.score_of(row["label"], split, score_range, where),
                split=split,
                video=video,
                audio=audio,
                language=labels_csv.language_of(row.get("language", "").strip() or language, where),
            )
        )
    if not samples:
        raise InputError(f"{path} has no rows")
    return samples


def _path(folder: Path, cell: str, where: str) -> str:
    if "\0" in cell:
        raise InputError(f"{where}: a path contains a NUL character")
    return str(folder / cell) if cell else ""
