"""The policies "tiny" and "tiny_xemogpt" of a run: their tokenizer is learned from the prompts and traces of the run's
data sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from emsa_jax.answers.answer_options import ConceptOptions
from emsa_jax.answers.formats import make_format
from emsa_jax.answers.messages import messages
from emsa_jax.answers.traces import read_traces
from emsa_jax.data.data_options import ReadingOptions
from emsa_jax.data.datasets import DataSettings, asked_as_train, datasets, labels_of, read_clips
from emsa_jax.data.records import Entry
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError
from emsa_jax.policy.tiny import make_tiny


@dataclass(frozen=True, kw_only=True)
class TinySettings(DataSettings):
    """The options that decide the tiny policy of a run."""

    seed: int
    policy: str
    format: str
    concepts: ConceptOptions
    read: ReadingOptions


def make_tiny_policy(out: Path, settings: TinySettings, sources: Sequence[Path]) -> None:
    """Makes the policy's directory. sources: where the clips of each data set of the run lie, raw or as records.

    Raises InputError if the data sets hold no text."""
    texts = [
        text
        for source, role in zip(sources, datasets(settings), strict=True)
        for text in _texts(source, role, settings)
    ]
    if not texts:
        raise InputError("policy: tiny learns its tokenizer from the data's texts, and there are none")
    make_tiny(out, texts, settings.seed, bridged=settings.policy == "tiny_xemogpt")


def _texts(source: Path, role: str, settings: TinySettings) -> Iterator[str]:
    """The prompts of a data set, and its traces without the labels that the other domain has."""
    dataset, as_train = datasets(settings)[role], asked_as_train(settings, role)
    score_range, asked_in = labels_of(settings.train_set if as_train else dataset)
    format = make_format(settings.format, score_range, concepts=settings.concepts)
    for clip in read_clips(source, dataset, settings.read):
        language = asked_in if as_train else clip.language
        for message in messages(format, clip.text, language, *_media(clip)):
            yield from (part["text"] for part in message["content"] if part["type"] == "text")
        truth = format.truth(clip) if "cue_f1" in format.parts else None
        if truth and (described := format.describe(truth)):
            yield format.tokenizer_text("", described, truth.score)
    traces = (source if source.is_dir() else source.parent) / "traces.jsonl"
    if traces.exists() and format.has_reasoning:
        for trace in read_traces(traces):
            yield format.tokenizer_text(trace.polarity, trace.think, trace.score)


def _media(clip: Sample | Entry) -> tuple[bool, bool]:
    """Whether a clip has frames, and sound; of raw ones, as far as their labels say."""
    if isinstance(clip, Entry):
        return clip.num_frames > 0, clip.mel_frames > 0
    return bool(clip.video), bool(clip.audio or clip.video)
