"""The MMSA layout of MOSI, MOSEI, CH-SIMS, CH-SIMS v2: `label.csv`, `Raw/<video_id>/<clip_id>.mp4`."""

from pathlib import Path

from emsa_jax.data import labels_csv
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError

COLUMNS = ("video_id", "clip_id", "text", "label", "mode")


def read_mmsa(path: str | Path, score_range: tuple[float, float], language: str) -> list[Sample]:
    """Samples of a data set, in the order of its rows; ids are `<video_id>$_$<clip_id>`.

    path: the data set's directory, whose `label.csv` (or `meta.csv`, as CH-SIMS v2 calls it) is read; or such
        a csv itself, which stands for the words alone where no `Raw` lies beside it.
    score_range: (lowest, highest) legal label, (-1, 1) for CH-SIMS and (-3, 3) for MOSI.

    A named clip need not exist: prepare sets it aside. Clip id `1` finds the file `0001.mp4` too. Raises
    InputError, naming file and line, for a missing column, duplicate id, unreadable or outlying label, or
    unknown mode.
    """
    path = Path(path).absolute()
    table = labels_file(path) if path.is_dir() else path
    raw = table.parent / "Raw"
    has_media = path.is_dir() or raw.is_dir()
    ids, samples = labels_csv.UniqueIds(), []
    for where, row in labels_csv.rows(table, COLUMNS):
        video_id, clip_id = (_name(row[c], c, where) for c in ("video_id", "clip_id"))
        split = labels_csv.split_of(row["mode"], where)
        samples.append(
            Sample(
                id=ids.add(f"{video_id}$_${clip_id}", where),
                text=row["text"],
                score=labels_csv.score_of(row["label"], split, score_range, where),
                split=split,
                video=str(_clip(raw / video_id, clip_id)) if has_media else "",
                language=labels_csv.language_of(language, where),
            )
        )
    if not samples:
        raise InputError(f"{table} has no rows")
    return samples


def labels_file(root: Path) -> Path:
    """`label.csv` or `meta.csv` of a data set's directory."""
    for name in ("label.csv", "meta.csv"):
        if (root / name).is_file():
            return root / name
    raise InputError(f"{root} holds no label.csv; expected label.csv and Raw/<video_id>/<clip_id>.mp4")


def _clip(folder: Path, clip_id: str) -> Path:
    path = folder / f"{clip_id}.mp4"
    padded = folder / f"{clip_id.zfill(4)}.mp4"
    return padded if not path.is_file() and padded.is_file() else path


def _name(cell: str, column: str, where: str) -> str:
    name = cell.strip()
    if not name or name in (".", "..") or any(c in name for c in "/\\\0"):
        raise InputError(f"{where}: {column} {cell!r} is not a file name")
    return name
