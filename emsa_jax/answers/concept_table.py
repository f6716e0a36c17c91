"""Which concepts an answer marks, under which tags, and which labels each may have: a table that a user can replace.

The one built in is that of CH-CEMS (section 3.2). Another is a JSON file:

    {"concepts": [{"name": "tone", "tag": "tone", "aliases": ["tone_of_voice"],
                   "labels": {"en": ["calm", "tense"], "zh": ["平静", "紧张"]}}]}

name: as the data call the concept; tag: as answers mark it; aliases: further tags that are read as it. The first
language's labels are the ones that data and metrics use; others stand for them in order, and may be left out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from emsa_jax.answers.answer_options import ConceptOptions
from emsa_jax.answers.labels import SENTIMENTS
from emsa_jax.data.facts import FACTS
from emsa_jax.errors import InputError
from emsa_jax.json_file import read_json

THINK, SENTIMENT, FREE = "think", "sentiment", "concept"  # tags that are no concept of the table
LANGUAGES = ("en", "zh")
_TAG = re.compile(r"[a-z][a-z0-9_]*")


def _folded(label: str) -> str:
    """ASCII letters in lower case; others as they are: str.lower() would turn the Kelvin sign into "k"."""
    return "".join(c.lower() if c.isascii() else c for c in label)


@dataclass(frozen=True)
class Labels:
    """The labels of one concept. by_language: language -> spellings, in one order; those of the first language are the
    canonical ones."""

    by_language: Mapping[str, tuple[str, ...]]
    _read: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        spelled = {
            _folded(label): known
            for labels in self.by_language.values()
            for label, known in zip(labels, self.known, strict=True)
        }
        object.__setattr__(self, "_read", spelled)

    @property
    def known(self) -> tuple[str, ...]:
        """The canonical labels."""
        return next(iter(self.by_language.values()))

    def read(self, text: str) -> str | None:
        """The label that a text spells in any of the languages, whatever its ASCII case and the white space around
        it; anything else is None."""
        text = text.strip()
        return self._read.get(_folded(text)) if len(text) <= 64 else None

    def write(self, label: str, language: str) -> str:
        """A canonical label as a language spells it; as it is where that language is not in the table."""
        return self.spelled(language)[self.known.index(label)]

    def spelled(self, language: str) -> tuple[str, ...]:
        """All labels as a language spells them."""
        return self.by_language.get(language, self.known)


@dataclass(frozen=True)
class Concept:
    """One concept of the table; see the module."""

    name: str
    tag: str
    labels: Labels
    aliases: tuple[str, ...] = ()


SENTIMENT_LABELS = {
    3: Labels({"en": SENTIMENTS[3], "zh": ("消极", "中性", "积极")}),
    5: Labels({"en": SENTIMENTS[5], "zh": ("消极", "弱消极", "中性", "弱积极", "积极")}),
}


def _ch_cems(name: str, tag: str, *aliases: str) -> Concept:
    known = FACTS["ch_cems"]
    return Concept(name, tag, Labels({"en": known.concepts[name], "zh": known.chinese[name]}), aliases)


# section 4.2 of the paper calls the tags Style, Tone and Expression, its listings as here
CH_CEMS = (
    _ch_cems("expression", "facial_expression", "expression"),
    _ch_cems("speaking_style", "speaking_style", "style"),
    _ch_cems("tone", "tone"),
)


def concept_table(options: ConceptOptions) -> tuple[Concept, ...]:
    """The table that the options name. InputError naming file, concept and what is wrong."""
    return read_table(options.table) if options.table else CH_CEMS


def read_table(path: str | Path) -> tuple[Concept, ...]:
    """A table from its JSON file."""
    content = read_json(path, "concepts.table")
    rows = content.get("concepts") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        raise InputError(f'concepts.table: {path} must be {{"concepts": [...]}} with at least one concept')
    concepts = tuple(_concept(row, f"concepts.table: {path}, concept {i}") for i, row in enumerate(rows, 1))
    seen = [THINK, SENTIMENT, FREE]
    for concept in concepts:
        for tag in dict.fromkeys((concept.tag, *concept.aliases)):
            if tag in seen:
                raise InputError(f"concepts.table: {path}: tag {tag!r} stands for two things")
            seen.append(tag)
    names = [concept.name for concept in concepts]
    if len(set(names)) < len(names):
        raise InputError(f"concepts.table: {path}: two concepts have the same name")
    return concepts


def _concept(row: object, where: str) -> Concept:
    if not isinstance(row, dict):
        raise InputError(f"{where} must be an object of name, tag, aliases and labels")
    if other := row.keys() - {"name", "tag", "aliases", "labels"}:
        raise InputError(f"{where}: {min(other)!r} is none of name, tag, aliases, labels")
    name = row.get("name")
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise InputError(f"{where}: name must be a text of one line")
    if name.strip() in (THINK, SENTIMENT, FREE):
        raise InputError(f"{where}: {name.strip()!r} is no concept but a part of every answer; name it another way")
    tags = [row.get("tag", name), *_texts(row.get("aliases", []), f"{where}: aliases")]
    for tag in tags:
        if not isinstance(tag, str) or not _TAG.fullmatch(tag):
            raise InputError(f"{where}: tag {tag!r} must be lower-case letters, digits and _")
    labels = row.get("labels")
    if not isinstance(labels, dict) or not labels or not set(labels) <= set(LANGUAGES):
        raise InputError(f"{where}: labels must be lists under {' or '.join(LANGUAGES)}")
    lists = {language: tuple(_texts(found, f"{where}: labels of {language}")) for language, found in labels.items()}
    first = next(iter(lists.values()))
    for language, found in lists.items():
        if len(found) < 2 or len({_folded(label) for label in found}) < len(found):
            raise InputError(f"{where}: labels of {language} must be two or more, all different")
        if len(found) != len(first):
            raise InputError(f"{where}: labels of {language} are {len(found)}, but {len(first)} of the first language")
        for label in found:
            if not label.isprintable() or label.strip() != label or not 0 < len(label) <= 64 or set(label) & set("<>|"):
                raise InputError(
                    f"{where}: label {label!r} must be 1 to 64 visible characters, without < > |, odd "
                    "spaces or line breaks"
                )
    spelled = {}
    for found in lists.values():
        for i, label in enumerate(found):
            if spelled.setdefault(_folded(label), i) != i:
                raise InputError(f"{where}: label {label!r} stands for two things")
    return Concept(name.strip(), tags[0], Labels(lists), tuple(tags[1:]))


def _texts(value: object, where: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InputError(f"{where} must be a list of texts")
    return value
