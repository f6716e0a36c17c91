"""A feature file as arrays for the networks, checked as a whole before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from emsa_jax.data.features import Features, read_features
from emsa_jax.errors import InputError
from emsa_jax.features.mag_bert import align_as_mmsa, align_contiguous
from emsa_jax.features.networks import Batch
from emsa_jax.policy.bert import encode_bert
from emsa_jax.policy.thinker_config import BertConfig

SPLITS = ("train", "valid", "test")
ALIGNMENTS: dict[str, Callable[[jax.Array, int], jax.Array]] = {"mmsa": align_as_mmsa, "contiguous": align_contiguous}


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """The three splits of a feature file.

    Attributes:
      batches: split -> all its utterances.
      parts: split -> what the file says of them.
      notes: one sentence for each thing that was changed or left out.
    """

    batches: Mapping[str, Batch]
    parts: Mapping[str, Features]
    notes: tuple[str, ...]


def read_feature_set(
    path: str | Path, scale: float, align: Literal["none", "mmsa", "contiguous"], bert: BertConfig | None
) -> FeatureSet:
    """Reads a feature file.

    Args:
      scale: labels lie in [-scale, scale].
      align: how audio and vision are averaged to one frame for each step of the text.
      bert: the text is what this BERT reads; None: features.

    Raises: InputError naming file, split and key, where a split is missing, sizes disagree, or a label is out of range.
    """
    parts, notes = read_features(path), []
    for split in SPLITS:
        if split not in parts:
            raise InputError(f"{path} has no part {split!r}; training needs {', '.join(SPLITS)}")
    parts = {split: _labelled(f"{path}: {split}", parts[split], scale, notes) for split in SPLITS}
    batches = {split: _batch(f"{path}: {split}", parts[split], bert, notes) for split in SPLITS}
    for split in SPLITS[1:]:
        for name in ("text", "audio", "vision"):
            found, wanted = (getattr(batches[s], name).shape[1:] for s in (split, "train"))
            if found != wanted:
                raise InputError(
                    f"{path}: {split}: {name} has shape {list(found)} for each utterance, that of train {list(wanted)}"
                )
    if align != "none":
        batches = {split: _aligned(batch, ALIGNMENTS[align]) for split, batch in batches.items()}
    return FeatureSet(batches, parts, tuple(notes))


def with_states(batches: Mapping[str, Batch], params: dict, config: BertConfig, size: int) -> dict[str, Batch]:
    """Batches whose text is the states of a BERT that is not trained, computed once for all seeds and epochs."""
    encode = jax.jit(lambda text: encode_bert(params, config, text[:, 0], text[:, 1], text[:, 2]))

    def states(text: np.ndarray) -> np.ndarray:
        fill = np.repeat(text[-1:], -len(text) % size, axis=0)
        whole = np.concatenate([text, fill]).reshape(-1, size, *text.shape[1:])
        return np.concatenate([np.asarray(encode(some)) for some in whole])[: len(text)]

    return {split: batch.replace(text=states(batch.text)) for split, batch in batches.items()}


def _labelled(where: str, part: Features, scale: float, notes: list[str]) -> Features:
    labels = part.regression_labels
    if not len(part):
        raise InputError(f"{where} has no utterance")
    with np.errstate(invalid="ignore"):
        outside = np.abs(labels) > scale
    if outside.any():
        at = outside.argmax()
        raise InputError(
            f"{where}: the label of {part.id[at]!r} is {labels[at]:g}, outside [{-scale:g}, {scale:g}]; another data "
            "set's range is chosen by config.dataset"
        )
    known = np.isfinite(labels)
    if not known.any():
        raise InputError(f"{where} has no label")
    if not known.all():
        notes.append(f"{where}: {(~known).sum()} utterances without a label are left out")
        part = _rows(part, np.flatnonzero(known))
    if sum(part.replaced.values()):
        found = ", ".join(f"{count} of {name}" for name, count in part.replaced.items() if count)
        notes.append(f"{where}: numbers that are not finite became 0: {found}")
    return part


def _rows(part: Features, at: np.ndarray) -> Features:
    def some(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return value[at]
        return tuple(value[i] for i in at) if isinstance(value, tuple) else value

    names = vars(part).keys() - {"unread", "replaced"}
    return replace(part, **{name: some(getattr(part, name)) for name in names})


def _batch(where: str, part: Features, bert: BertConfig | None, notes: list[str]) -> Batch:
    text = part.text
    mask = (np.abs(text).sum(-1) > 0).astype(np.float32)
    if part.text_bert is not None and part.text_bert.shape[2] == text.shape[1]:
        mask = part.text_bert[:, 1].astype(np.float32)
    if bert is not None:
        if part.text_bert is None:
            raise InputError(f"{where} has no text_bert; leave config.bert empty to use its text features")
        text, mask = part.text_bert, part.text_bert[:, 1].astype(np.float32)
        for row, (name, rows) in enumerate((("id", bert.vocab_size), ("mask", 2), ("segment", bert.type_vocab_size))):
            found = text[:, row]
            if found.min() < 0 or found.max() >= rows:
                wrong = found.min() if found.min() < 0 else found.max()
                raise InputError(f"{where}: text_bert has the {name} {wrong}; this BERT has {rows}")
        if text.shape[2] > bert.max_position_embeddings:
            raise InputError(f"{where}: text_bert has {text.shape[2]} steps; BERT has {bert.max_position_embeddings}")
    if (empty := mask.sum(1) == 0).any():
        notes.append(f"{where}: {empty.sum()} utterances without words count as one step of padding")
        mask = np.where(empty[:, None] & (np.arange(mask.shape[1]) == 0), np.float32(1), mask)
    labels = part.regression_labels[:, None]
    return Batch(text, mask, part.audio, part.vision, labels, np.ones(len(part), np.float32))


def _aligned(batch: Batch, pool: Callable[[jax.Array, int], jax.Array]) -> Batch:
    steps = batch.mask.shape[1]
    audio, vision = (np.asarray(pool(jnp.asarray(x), steps)) for x in (batch.audio, batch.vision))
    return batch.replace(audio=audio, vision=vision)
