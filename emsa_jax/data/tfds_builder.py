"""A prepared directory as a set of tensorflow-datasets (TFDS), which any code that reads TFDS can open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from emsa_jax.data.mel import SAMPLE_RATE
from emsa_jax.data.records import RecordSource, read_index, read_manifest, unpack, unpack_pcm
from emsa_jax.data.sample import SPLITS
from emsa_jax.errors import InputError

TEXTS = ("id", "text", "language", "speaker", "reasoning")


def build(directory: str | Path, out: str | Path, name: str = "emsa_clips") -> Path:
    """Writes the clips of a prepared directory below `out`, and returns where: `tfds.builder_from_directory` opens it.

    Features: id, text, language, speaker and reasoning (Text); video (frames as they were sampled), frame_rate; audio
    (16 kHz mono, int16); score (float32, nan where none is known); and, where the set has classes, label (ClassLabel,
    -1 where none is known).

    Raises: InputError without TFDS and TensorFlow, for a directory without records, or if the set is there already.
    """
    tfds = import_tfds()
    read_manifest(directory)
    entries = {split: read_index(directory, split) for split in SPLITS}
    labels = sorted({entry.label for found in entries.values() for entry in found if entry.label})

    def examples(split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        source = RecordSource(directory, split)
        for index in range(len(source)):
            yield index, example(source[index], labelled=bool(labels))

    try:
        builder = tfds.dataset_builders.store_as_tfds_dataset(
            name=name,
            version="1.0.0",
            features=features(tfds, labels),
            split_datasets={split: examples(split) for split, found in entries.items() if found},
            data_dir=str(out),
            file_format="array_record",  # which is read at random, without TensorFlow
            disable_shuffling=True,  # the order of the records
        )
    except RuntimeError as error:
        raise InputError(f"{out}: {str(error).splitlines()[0][:200]}") from error
    return Path(builder.data_path)


def features(tfds: Any, labels: list[str]) -> Any:
    """The FeaturesDict of clips with these classes."""
    kinds = {name: tfds.features.Text() for name in TEXTS} | {
        "video": tfds.features.Video(shape=(None, None, None, 3)),
        "frame_rate": np.float32,
        "audio": tfds.features.Audio(shape=(None,), sample_rate=SAMPLE_RATE, dtype=np.int16),
        "score": np.float32,
    }
    return tfds.features.FeaturesDict(kinds | ({"label": tfds.features.ClassLabel(names=labels)} if labels else {}))


def example(record: bytes, labelled: bool) -> dict[str, Any]:
    """One record as TFDS takes it. labelled: whether the set has classes."""
    clip = unpack(record)
    label = {"label": clip.label or -1} if labelled else {}
    return (
        label
        | {name: getattr(clip, name) for name in TEXTS}
        | {
            "video": clip.frames,
            "frame_rate": np.float32(clip.frame_rate),
            "audio": unpack_pcm(record),
            "score": np.float32(np.nan if clip.score is None else clip.score),
        }
    )


def import_tfds() -> Any:
    """The module. Raises InputError, with the reason, where it or the TensorFlow that it builds with is missing."""
    try:
        import tensorflow  # noqa: F401 (TFDS would print a page about it)
        import tensorflow_datasets
    except ImportError as error:
        raise InputError(
            f"tensorflow-datasets cannot be used here ({error}); pip install 'emsa_jax[tfds]', best into an "
            "environment of its own, since TensorFlow brings 20 packages along"
        ) from error
    return tensorflow_datasets
