"""The data sets of a run: which there are, what is known of each, and the clips that it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emsa_jax.data.data_options import ReadingOptions
from emsa_jax.data.dataset_options import CrossDataset, Dataset
from emsa_jax.data.facts import facts_of
from emsa_jax.data.readers import read_samples
from emsa_jax.data.records import MANIFEST, Entry, read_index, read_manifest
from emsa_jax.data.sample import SPLITS, Sample
from emsa_jax.errors import InputError

PUPPETS = {
    "puppets:en": Dataset("puppets:en", score_range=(-3.0, 3.0), language="en"),
    "puppets:zh": Dataset("puppets:zh", score_range=(-1.0, 1.0), language="zh"),
    "puppets:concepts_en": Dataset("puppets:concepts_en", dataset="ch_cems", score_range=(-1.0, 1.0), language="en"),
    "puppets:concepts_zh": Dataset("puppets:concepts_zh", dataset="ch_cems", score_range=(-1.0, 1.0), language="zh"),
}
PUPPETS_NOTE = "Puppets are a test bench: no number here compares with one from a paper."


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """The options that say which data sets a run has; see `settings.config.Config`."""

    data: str
    dataset: str
    score_range: tuple[float, ...]
    language: str
    cross: CrossDataset

    @property
    def train_set(self) -> Dataset:
        """The data set that is trained on."""
        return Dataset(self.data, dataset=self.dataset, score_range=self.score_range, language=self.language)


def datasets(settings: DataSettings) -> dict[str, Dataset]:
    """The run's data sets by role: "train", and "cross" where there is one. Raises InputError if none is named."""
    if not settings.data:
        raise InputError("config.data: name a data set: a directory, a csv, or puppets:en")
    # the puppets' other domain is a second domain of puppets alone, not of a user's clips
    other = settings.cross.data and (settings.cross.data not in PUPPETS or settings.data in PUPPETS)
    return {"train": settings.train_set} | ({"cross": settings.cross} if other else {})


def asked_as_train(settings: DataSettings, role: str) -> bool:
    """Whether the policy is asked about a data set in the score range and language of the training set."""
    return role == "cross" and settings.cross.asked_as == "train"


def is_prepared(path: Path) -> bool:
    """Whether a directory holds records."""
    return (path / MANIFEST).is_file()


def labels_of(dataset: Dataset) -> tuple[tuple[float, float], str]:
    """(score_range, language) of a data set, as given or as its facts say."""
    known = PUPPETS.get(dataset.data, dataset)
    facts = facts_of(dataset.dataset)
    return tuple(known.score_range or facts.score_range), known.language or facts.language


def reader_of(dataset: Dataset) -> str:
    """The name of the reader of a data set: the one that was named, or that of its puppets."""
    return PUPPETS.get(dataset.data, dataset).dataset


def clips_of(dataset: Dataset, read: ReadingOptions) -> tuple[Sequence[Sample | Entry] | None, tuple[float, float]]:
    """(clips, score range) of a data set as its labels say; None for puppets, which are still to be made.

    Raises InputError for one that cannot be used: an unknown domain, a bad path or a bad table of labels."""
    if dataset.data.startswith("puppets:"):
        if dataset.data not in PUPPETS:
            raise InputError(f"data: {dataset.data!r} is no puppet domain; there are {', '.join(PUPPETS)}")
        return None, labels_of(dataset)[0]
    path = Path(dataset.data)
    if not is_prepared(path):
        return read_clips(path, dataset, read), labels_of(dataset)[0]
    low, high = score_range = read_manifest(path).score_range
    if dataset.score_range and tuple(dataset.score_range) != score_range:
        raise InputError(
            f"score_range {dataset.score_range} is not that of the records {path}, which were prepared for "
            f"[{low:g}, {high:g}]; leave it out, or prepare the clips again"
        )
    return read_clips(path, dataset, read), score_range


def read_clips(source: Path, dataset: Dataset, read: ReadingOptions) -> Sequence[Sample | Entry]:
    """The clips of the records, or of the raw data, that lie at `source`. dataset: says how raw data are read."""
    if is_prepared(source):
        return [entry for split in SPLITS for entry in read_index(source, split)]
    return read_samples(source, *labels_of(dataset), reader_of(dataset), read)


def labelled_splits(clips: Sequence[Sample | Entry] | None) -> dict[str, bool]:
    """Split -> whether clips of it have scores; splits without clips are left out. None means puppets: all have."""
    if clips is None:
        return dict.fromkeys(SPLITS, True)
    return {
        split: any(clip.score is not None for clip in clips if clip.split == split)
        for split in dict.fromkeys(clip.split for clip in clips)
    }
