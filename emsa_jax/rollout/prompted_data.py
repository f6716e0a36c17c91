"""A prompted data set: its records, its prompts, and the order of its batches."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from emsa_jax.answers.answer_options import ConceptOptions, LabelOptions
from emsa_jax.answers.formats import make_format
from emsa_jax.answers.labels import polarity_of
from emsa_jax.data.batch_order import Plan
from emsa_jax.data.mixture import Part
from emsa_jax.data.pipeline import Clips
from emsa_jax.data.records import Clip, Entry, Manifest, read_index, read_manifest
from emsa_jax.data.views import view
from emsa_jax.errors import InputError
from emsa_jax.policy.checkpoint import Checkpoint
from emsa_jax.policy.inputs import InputShape
from emsa_jax.policy.lora import Adapter
from emsa_jax.rollout.encodings import TowerEncoder, open_encoder
from emsa_jax.rollout.prompts import Prompter, prompt_buckets
from emsa_jax.rollout.rollout_options import EncodingOptions, PromptOptions

BATCHES_OF_BUCKET = 4  # of training: a bucket has clips for so many at least


class QuestionOptions(Protocol):
    """How a policy is asked about clips, and in which format it answers. format: its name."""

    format: str
    concepts: ConceptOptions
    labels: LabelOptions
    prompt: PromptOptions


class EncodedOptions(Protocol):
    """How frozen towers encode: in which dtype, and where encodings are kept."""

    dtype: str
    encodings: EncodingOptions


@dataclass(frozen=True)
class Split:
    """Some clips of one split, ready to be asked about.

    clips[i] belongs to entries[i] and lengths[i], its prompt's tokens; `order` maps them to the records."""

    manifest: Manifest
    prompter: Prompter
    entries: Sequence[Entry]
    lengths: np.ndarray
    source: Sequence
    order: np.ndarray
    parts: tuple[Part, ...] = ()  # of a mixture

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Clip:
        return self.source[int(self.order[index])]

    def buckets(self, least: int = 1) -> tuple[int, ...]:
        """The compiled prompt lengths. least: prompts of each, where the lengths are chosen."""
        return prompt_buckets(self.lengths, self.prompter.options, least)

    def training_buckets(self, batch_size: int) -> tuple[int, ...]:
        """The compiled prompt lengths where batches are drawn at random: each length has so many clips that few of them
        are left over by the batches of an epoch."""
        return self.buckets(BATCHES_OF_BUCKET * batch_size)

    def encoded_by(self, encoder: TowerEncoder | None) -> Split:
        """With the states of frozen towers in place of media, where there is an encoder."""
        return replace(self, prompter=replace(self.prompter, encoder=encoder))

    def encoded(
        self, options: EncodedOptions, workdir: Path, adapter: Adapter | None = None, beside: Sequence[Entry] = ()
    ) -> Split:
        """With the states of the towers in place of media, unless an adapter reaches into the towers.

        beside: clips of other splits that the encoder is to serve too (`encoded_by`)."""
        prompter = self.prompter
        given = {"dtype": options.dtype, "options": options.encodings, "workdir": workdir}
        entries = [*self.entries, *beside]
        return self.encoded_by(
            open_encoder(prompter.checkpoint, entries, prompter.options.modalities, **given, adapter=adapter)
        )

    def load_towers(self, params: dict) -> None:
        """Gives the encoder, where there is one, the policy's weights. On several processes all have to call it."""
        if self.prompter.encoder:
            self.prompter.encoder.load(params)

    def encoding_summary(self) -> str:
        """What the encoder has read and made, in one line, "" for nothing."""
        return self.prompter.encoder.summary() if self.prompter.encoder else ""

    def balanced(self, neutral_eps: float) -> Split:
        """With the clips of rarer polarities repeated until each is as frequent as the most frequent one; a last,
        incomplete repetition takes the first ones. Clips without a score stay as they are."""
        by_polarity: dict[str | None, list[int]] = {}
        for i, entry in enumerate(self.entries):
            polarity = None if entry.score is None else polarity_of(entry.score, neutral_eps)
            by_polarity.setdefault(polarity, []).append(i)
        most = max((len(members) for polarity, members in by_polarity.items() if polarity), default=0)
        chosen = np.concatenate(
            [members if polarity is None else np.resize(members, most) for polarity, members in by_polarity.items()]
        )
        return replace(
            self, entries=[self.entries[i] for i in chosen], lengths=self.lengths[chosen], order=self.order[chosen]
        )

    def input_shape(self, bucket: int, rows: int) -> InputShape:
        """The shape of any `rows` clips whose prompts are not longer than `bucket`."""
        entries = [entry for entry, length in zip(self.entries, self.lengths, strict=True) if length <= bucket]
        return self.prompter.input_shape(entries, rows, bucket, repeated=bool(self.parts))

    def input_shapes(self, rows: int, batch_size: int) -> dict[int, InputShape]:
        """Prompt bucket -> the shape of `rows` clips of the batches that `plan` makes."""
        return {bucket: self.input_shape(bucket, rows) for bucket in self.training_buckets(batch_size)}

    def plan(self, batch_size: int, seed: int, drop_remainder: bool) -> Plan:
        """The order of the batches."""
        buckets = self.training_buckets(batch_size)
        return Plan(self.lengths, buckets, batch_size, seed, drop_remainder, self.parts)


def open_split(
    options: QuestionOptions,
    records: Path,
    checkpoint: Checkpoint,
    split: str,
    max_clips: int = 0,
    ids: set[str] | None = None,
    taught: Manifest | None = None,
) -> Split:
    """Opens a split of prepared records (only the clips `ids`, at most `max_clips`). Raises InputError if empty.

    taught: of the records that the policy learned from, to be asked in their score range and language."""
    manifest = read_manifest(records)
    format = make_format(options.format, (taught or manifest).score_range, options.labels.neutral_eps, options.concepts)
    language = ""
    if taught:
        format = format.for_range(manifest.score_range)
        language = taught.languages[0] if len(taught.languages) == 1 else ""
    prompter = Prompter(checkpoint, format, options.prompt, language)
    entries = read_index(records, split)
    order = [i for i, entry in enumerate(entries) if ids is None or entry.id in ids]
    order = order[:max_clips] if max_clips else order
    if not order:
        raise InputError(f"{records}: the {split} split has no clip to use")
    chosen = [entries[i] for i in order]
    for entry in chosen:  # a label that the format does not know is noticed now, not after the cold start
        format.truth(entry)
    lengths = np.array([prompter.length(entry) for entry in chosen])
    return Split(manifest, prompter, chosen, lengths, Clips(records, split), np.array(order))


def modality_dropout(
    rates: Mapping[str, float], seed: int, modalities: Collection[str]
) -> Callable[[Any, int, int], Any] | None:
    """What `data.pipeline.batches` does to each clip while the policy learns: it leaves out modalities at random.

    rates: modality -> the chance that it is left out. modalities: those that prompts have, one of which always stays.
    None where all modalities are always kept."""
    return functools.partial(view, rates=rates, seed=seed, among=modalities) if any(rates.values()) else None
