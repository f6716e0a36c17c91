"""What every reader takes and gives."""

import os
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from emsa_jax.data.data_options import ReadingOptions
from emsa_jax.data.labels_csv import Where
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError

_ENTITY = re.compile(r"&(#\d+|#x[0-9a-fA-F]+|amp|lt|gt|quot|apos|nbsp);")
_MOJIBAKE = re.compile("â€[\u0080-\u2fff]|Ã[\u0080-\u00bf]|ï»¿")  # of quotation marks and accents


@dataclass(frozen=True)
class ReadOptions:
    """score_range: lowest and highest legal score. language: "en" or "zh", of the words, and of the transcript and
    explanation where a set brings both. reading: what is read, and the split of samples whose source states none."""

    score_range: tuple[float, float]
    language: str
    reading: ReadingOptions = ReadingOptions()


Reader = Callable[[Path, ReadOptions], list[Sample]]  # the path is absolute, and a file or a directory


class Collection:
    """Samples in the order they were added, each id once. options: may say which directory holds all media."""

    def __init__(self, source: Path, options: ReadOptions) -> None:
        self._source = source
        self._root = os.path.realpath(os.path.expanduser(root)) if (root := options.reading.root) else ""
        self._samples: list[Sample] = []
        self._seen: dict[str, Where] = {}

    def __contains__(self, id_: str) -> bool:
        return unicodedata.normalize("NFC", id_) in self._seen

    def add(self, where: Where, sample: Sample) -> None:
        """where: the file and line (or entry), for messages, with what was guessed of it, which the sample gets. Raises
        InputError for an id that is empty, was given before or climbs out of a folder, for text that cannot be
        written, and for media outside of the directory that holds all."""
        id_ = sample.id
        if not id_:
            raise InputError(f"{where}: the id is empty")
        if not id_.isprintable() or id_.startswith("/") or ".." in PurePosixPath(id_.replace("\\", "/")).parts:
            raise InputError(f"{where}: id {id_!r} must be a printable name that stays inside its folder")
        form = unicodedata.normalize("NFC", id_)
        if form in self._seen:
            raise InputError(f"{where}: id {id_!r} was already given at {self._seen[form]}")
        for name, value in _texts(sample):
            if "\0" in value or value != value.encode(errors="ignore").decode():
                raise InputError(f"{where}: {name} contains a NUL or half a character: {value[:50]!a}")
        for path in filter(None, (sample.video, sample.audio)) if self._root else ():
            if os.path.commonpath([self._root, os.path.realpath(path)]) != self._root:
                raise InputError(f"{where}: {path} lies outside of {self._root}, which read.root says holds all media")
        if "\ufffd" in sample.text:
            where.guess("words hold the sign for characters that were lost (U+FFFD), and were taken as they are")
        if _ENTITY.search(sample.text):
            where.guess("words hold signs in the spelling of HTML, such as &amp;, and were taken as they are")
        if _MOJIBAKE.search(sample.text):
            where.guess("words seem to have been read in a wrong encoding once, and were taken as they are")
        self._seen[form] = where
        self._samples.append(replace(sample, guesses=tuple(where.guesses)) if where.guesses else sample)

    def samples(self) -> list[Sample]:
        """All of them; InputError if there are none."""
        if not self._samples:
            raise InputError(f"{self._source} has no rows")
        return self._samples


def _texts(sample: Sample) -> list[tuple[str, str]]:
    names = ("text", "video", "audio", "label", "speaker", "reasoning")
    return [(name, getattr(sample, name)) for name in names] + [("concepts", "".join(sum(sample.concepts, ())))]
