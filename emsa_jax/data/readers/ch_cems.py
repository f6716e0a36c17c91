"""CH-CEMS in our format, as none is published: the MMSA columns, concepts and a reasoning, as csv or jsonl."""

from dataclasses import replace
from pathlib import Path

from emsa_jax.data.readers.base import Collection, ReadOptions
from emsa_jax.data.readers.cells import concepts_of
from emsa_jax.data.readers.mmsa import NEEDED, labelled, labels_file
from emsa_jax.data.readers.rows import rows
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError

FILES = ("label.csv", "label.jsonl", "meta.csv")
CONCEPTS = ("tone", "expression", "speaking_style", "scenario", "interaction")
OPTIONAL = ("speaker", "reasoning", "concepts")
ANNOTATED = CONCEPTS[:3]  # the three the paper annotates; the others describe the clip


def read_ch_cems(path: Path, options: ReadOptions) -> list[Sample]:
    """path: a directory with `label.csv` or `label.jsonl` and `Raw`, or such a file.

    Beside the MMSA columns there must be tone, expression and speaking_style, and may be scenario, interaction,
    speaker, reasoning, and concepts of one's own in a column `concepts`, as in a plain table; each cell may be empty.
    """
    table = labels_file(path, FILES)
    found = Collection(table, options)
    for where, row in rows(table, (*NEEDED, *ANNOTATED), (*CONCEPTS, *OPTIONAL)):
        concepts = [(name, row.get(name, "").strip()) for name in CONCEPTS]
        concepts += concepts_of(row.get("concepts", ""), where)
        if len(dict(concepts)) < len(concepts):
            raise InputError(f"{where}: a concept has a column and stands in the column concepts too")
        sample = replace(
            labelled(row, where, path, options),
            concepts=tuple(pair for pair in concepts if pair[1]),
            speaker=row.get("speaker", "").strip(),
            reasoning=row.get("reasoning", "").strip(),
        )
        found.add(where, sample)
    return found.samples()
