"""One small reader for each data set: its files on disk -> samples."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

from emsa_jax.data import labels_csv
from emsa_jax.data.data_options import LABELLED_ALONE, ReadingOptions
from emsa_jax.data.facts import facts_of
from emsa_jax.data.readers.base import Reader, ReadOptions
from emsa_jax.data.readers.cells import language_of
from emsa_jax.data.readers.ch_cems import read_ch_cems
from emsa_jax.data.readers.ch_sims import read_ch_sims, read_ch_sims_v2
from emsa_jax.data.readers.conversations import read_conversations
from emsa_jax.data.readers.emer import read_emer
from emsa_jax.data.readers.emotion_llama import read_emotion_llama
from emsa_jax.data.readers.meld import read_meld
from emsa_jax.data.readers.mer2023 import read_mer2023
from emsa_jax.data.readers.mer_caption_plus import read_mer_caption_plus
from emsa_jax.data.readers.merr import read_merr
from emsa_jax.data.readers.mmsa import read_mmsa
from emsa_jax.data.readers.plain import read_plain
from emsa_jax.data.readers.rows import TABLES
from emsa_jax.data.sample import SPLITS, Sample
from emsa_jax.errors import InputError

READERS: dict[str, Reader] = {
    "cmu_mosi": read_mmsa,
    "cmu_mosei": read_mmsa,
    "ch_sims": read_ch_sims,
    "ch_sims_v2": read_ch_sims_v2,
    "ch_cems": read_ch_cems,
    "meld": read_meld,
    "mer2023": read_mer2023,
    "mer_caption_plus": read_mer_caption_plus,
    "merr": read_merr,
    "emer": read_emer,
    "conversations": read_conversations,
    "emotion_llama": read_emotion_llama,
    "plain": read_plain,
}


def check_reader(name: str, field: str = "dataset") -> None:
    """Raises InputError where the name of a reader is given and is none of `READERS`. field: what the message names."""
    if name and name not in READERS:
        raise InputError(f"{field} {name!r} is none of {', '.join(READERS)}")


def read_samples(
    path: str | Path,
    score_range: tuple[float, float] | None = None,
    language: str = "",
    dataset: str = "",
    reading: ReadingOptions = LABELLED_ALONE,
) -> list[Sample]:
    """The samples of a source, in its own order.

    path: a directory or label file, as the set's reader says (docs/data_sets.md).
    score_range: lowest and highest legal score; None: the set's own.
    language: "en" or "zh", of the words; "": the set's own.
    dataset: a name of `READERS`; "": a directory is in the MMSA layout, a csv too if it has a column `video_id`, any
        other csv or jsonl is a plain table.
    reading: which parts are read, and into which splits.

    Media are named, not opened: a clip that is missing is prepare's to set aside. Raises InputError, naming file,
    line and field, for labels that cannot be read.
    """
    path = Path(os.path.abspath(path))
    check_reader(dataset)
    if not os.path.isdir(path) and not os.path.isfile(path):
        raise InputError(f"{path} does not exist; give a data set's directory or a file of labels")
    if path.suffix.lower() in labels_csv.SPREADSHEETS and not os.path.isdir(path):
        raise InputError(f"{path} is a spreadsheet; save it as csv (utf-8) and name that file")
    facts = facts_of(dataset)
    options = ReadOptions(
        tuple(score_range or facts.score_range), language_of(language or facts.language, str(path)), reading
    )
    if reading.split not in SPLITS:
        raise InputError(f"split {reading.split!r} is none of {', '.join(SPLITS)}")
    try:
        samples = (READERS[dataset] if dataset else _guess(path))(path, options)
    except OSError as error:
        raise InputError(f"{error.filename or path} cannot be read: {error.strerror}") from error
    if not any(s.text or s.video or s.audio for s in samples):
        raise InputError(f"{path} has labels alone; put its clips or words beside it, as docs/data_sets.md shows")
    return samples if any(s.split == "valid" for s in samples) else _with_valid(samples, reading.valid_share)


def _guess(path: Path) -> Reader:
    if path.is_dir():
        return read_mmsa
    suffix = path.suffix.lower()
    if suffix not in TABLES:
        raise InputError(f"{path} is neither a directory nor a .csv or .jsonl file; name its dataset")
    return read_mmsa if suffix != ".jsonl" and "video_id" in labels_csv.header(path) else read_plain


def _with_valid(samples: list[Sample], share: float) -> list[Sample]:
    def is_valid(sample: Sample) -> bool:
        sha = hashlib.sha256(sample.id.encode()).digest()
        return sample.split == "train" and int.from_bytes(sha[:8], "big") < share * 2**64

    return [replace(sample, split="valid") if is_valid(sample) else sample for sample in samples]
