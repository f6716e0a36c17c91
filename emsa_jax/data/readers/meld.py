"""MELD: `{train,dev,test}_sent_emo.csv` and the clips `dia<D>_utt<U>.mp4` of each part in a folder of its own."""

import os
from pathlib import Path

from emsa_jax.data import labels_csv
from emsa_jax.data.readers import clips
from emsa_jax.data.readers.base import Collection, ReadOptions
from emsa_jax.data.readers.cells import name_of, split_in_name, whole_of
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError

NEEDED = ("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID")
SENTIMENTS = {"negative": -1.0, "neutral": 0.0, "positive": 1.0}
FOLDERS = {
    "train": ("train_splits", "train/train_splits", "train"),
    "dev": ("dev_splits_complete", "dev/dev_splits_complete", "dev"),
    "test": ("output_repeated_splits_test", "test/output_repeated_splits_test", "test"),
}
PREFIXES = ("final_videos_test", "")  # test clips that were cut again, and come beside the first cut


def read_meld(path: Path, options: ReadOptions) -> list[Sample]:
    """path: the directory of MELD.Raw, or one of its tables. Ids are `<part>_dia<D>_utt<U>`, as the parts count anew;
    the score is the sentiment, -1, 0 or 1; the class is the emotion. Times of the table are the episode's: clips
    are cut already."""
    places = ("{}_sent_emo.csv", "train/{}_sent_emo.csv")
    tables = [path / place.format(part) for part in FOLDERS for place in places] if path.is_dir() else [path]
    tables = [table for table in tables if os.path.isfile(table)]
    if not tables:
        expected = ", ".join(places[0].format(part) for part in FOLDERS)
        raise InputError(f"{path} holds none of {expected}{clips.spreadsheets(path)}")
    found = Collection(path, options)
    for table in tables:
        split = split_in_name(table.stem, options.reading.split)
        part = "dev" if split == "valid" else split
        clip = clips.finder(path, FOLDERS[part], PREFIXES if part == "test" else ("",))
        for where, row in labels_csv.rows(table, NEEDED):
            columns = ("Dialogue_ID", "Utterance_ID")
            numbers = (whole_of(name_of(row[column], column, where), column, where) for column in columns)
            name = "dia{}_utt{}".format(*numbers)
            sentiment = row["Sentiment"].strip().lower()
            if sentiment not in SENTIMENTS:
                raise InputError(f"{where}: Sentiment {row['Sentiment']!r} is none of {', '.join(SENTIMENTS)}")
            sample = Sample(
                id=f"{part}_{name}",
                text=row["Utterance"],
                score=SENTIMENTS[sentiment],
                split=split,
                video=clip(name, where),
                language=options.language,
                label=row["Emotion"].strip().lower(),
                speaker=row["Speaker"].strip(),
            )
            found.add(where, sample)
    return found.samples()
