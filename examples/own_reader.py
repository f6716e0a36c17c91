"""A reader of your own: a function in one file, and one line that gives it its name.

    python examples/own_reader.py                     shows what it reads from a small table

To train on such a table (`--config.data=ratings.csv --config.dataset=ratings`), put the function into a file of
emsa_jax/data/readers/ and the line into `READERS` of its __init__.py.
"""

import tempfile
from pathlib import Path

from emsa_jax.data.readers import READERS, read_samples
from emsa_jax.data.readers.base import Collection, ReadOptions
from emsa_jax.data.readers.cells import id_of, number_of, split_of
from emsa_jax.data.readers.rows import rows
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError

TABLE = """utterance,words,stars,part
a1,what a wonderful day,5,train
a2,it is as it is,3,dev
a3,never again,1,test
"""


def read_ratings(path: Path, options: ReadOptions) -> list[Sample]:
    """path: a csv with `utterance` (the id), `words`, `stars` (1 to 5, which become the range of scores) and `part` (a
    split). Complaints name the file, line and column, as every helper here does."""
    low, high = options.score_range
    found = Collection(path, options)
    for where, row in rows(path, ("utterance", "words", "stars", "part")):
        stars = number_of(row["stars"], "stars", where)
        if not 1 <= stars <= 5:
            raise InputError(f"{where}: stars {stars:g} is not between 1 and 5")
        sample = Sample(
            id=id_of(row["utterance"], "utterance", where),
            text=row["words"],
            score=low + (high - low) * (stars - 1) / 4,
            split=split_of(row["part"], where),
            language=options.language,
        )
        found.add(where, sample)
    return found.samples()


READERS["ratings"] = read_ratings  # the one line


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        table = Path(directory) / "ratings.csv"
        table.write_text(TABLE, encoding="utf-8")
        for sample in read_samples(table, dataset="ratings"):
            print(f"{sample.split}: {sample.id} {sample.score:+.1f} {sample.text}", *sample.guesses, sep="; ")


if __name__ == "__main__":
    main()
