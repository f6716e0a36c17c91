"""Options that name a data set. Imports no jax.

They stand apart from data_options.py, which the readers import, because they ask which readers there are.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from emsa_jax.config.fields import Options, option
from emsa_jax.data.readers import check_reader
from emsa_jax.errors import InputError

SOURCES = (
    "an MMSA directory, a csv or jsonl of paths and labels, a directory of records, or an embedded domain, "
    "puppets:en, puppets:zh, puppets:concepts_en or puppets:concepts_zh"
)


@dataclass(frozen=True)
class Dataset(Options):
    """A data set."""

    data: str = option(
        "",
        f"a data set: {SOURCES}; empty for none",
    )
    dataset: str = option(
        "", "how it is read: a name of docs/data_sets.md; empty: by its layout", source="docs/data_sets.md"
    )
    score_range: tuple[float, ...] = option(
        (), "lowest and highest legal score; (): the set's own", source="each data set's paper"
    )
    language: str = option("", "en or zh, of its words and of the question; empty: the set's own")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.score_range and not (len(self.score_range) == 2 and self.score_range[0] < self.score_range[1]):
            raise InputError(f"score_range must be two numbers that rise, not {self.score_range}")
        check_reader(self.dataset)


@dataclass(frozen=True)
class CrossDataset(Dataset):
    """A second domain, for evaluation alone."""

    group: ClassVar[str] = "cross"
    asked_as: Literal["own", "train"] = option(
        "own",
        "own: it is asked about in its own language and score range; train: in those of the training set, and the "
        "scores are carried over into its own",
    )
