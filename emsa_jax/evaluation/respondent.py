"""A policy that is asked about edited clips: some modality swapped for that of another clip, or left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from emsa_jax.data.records import Clip, Entry
from emsa_jax.data.views import modalities, only
from emsa_jax.errors import InputError
from emsa_jax.evaluation.kept_answers import LoadedPolicy
from emsa_jax.rollout.answering import asked_clips, compile_answers, expect_scores, predict
from emsa_jax.rollout.prompted_data import Split
from emsa_jax.rollout.rollout_options import SamplingOptions
from emsa_jax.rollout.sampler import Completions
from emsa_jax.runtime.programs import Programs

# what a modality is in a record, and in its index entry
FIELDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "text": (("text",), ("text",)),
    "audio": (("mel",), ("mel_frames",)),
    "video": (("frames", "frame_rate"), ("num_frames", "height", "width", "frame_rate")),
}


@dataclass(frozen=True)
class Edited:
    """A clip of a split, by its place. taken: modality -> the place of the clip that it is taken from. removed: the
    modalities that are left out."""

    place: int
    taken: tuple[tuple[str, int], ...] = ()
    removed: tuple[str, ...] = ()

    def of(self, items: Sequence[Any]) -> Any:
        """The edited Clip or Entry. items: all of the split's."""
        item = items[self.place]
        for modality, place in self.taken:
            other, names = items[place], FIELDS[modality][isinstance(item, Entry)]
            item = replace(item, **{name: getattr(other, name) for name in names})
        kept = [name for name in modalities(item) if name not in self.removed]
        return only(item, kept) if self.removed else item


@dataclass(frozen=True)
class _EditedClips:
    """The clips of edits, made when they are read."""

    split: Split
    edits: Sequence[Edited]

    def __getitem__(self, index: int) -> Clip:
        return self.edits[index].of(self.split)


def edited_split(split: Split, edits: Sequence[Edited]) -> Split:
    """The split that holds edited clips of another one, in order. Raises InputError for an edit that leaves nothing."""
    entries = [edit.of(split.entries) for edit in edits]
    if empty := next((entry for entry in entries if not modalities(entry)), None):
        raise InputError(f"{empty.id}: nothing would be left of the clip")
    lengths = np.array([split.prompter.length(entry) for entry in entries])
    clips = _EditedClips(split, edits)
    return replace(split, entries=entries, lengths=lengths, source=clips, order=np.arange(len(edits)), parts=())


@dataclass(frozen=True, kw_only=True)
class PolicyRespondent:
    """A `faithfulness.Respondent`: a policy that is asked about `Edited` clips of a split, on one process.

    advance: is called with the number of clips that were asked about. kept: what was asked before -> the answer; new
    answers are added by `keep`, batch by batch."""

    split: Split
    policy: LoadedPolicy
    batch_size: int
    slots: int
    advance: Callable[[int], None] = lambda _: None
    kept: Mapping[str, Any] = field(default_factory=dict)
    keep: Callable[[dict[str, Any]], None] = lambda _: None

    def answers(self, clips: Sequence[Edited]) -> list[str]:
        """The greedy answer to each clip."""
        keys = [repr(clip) for clip in clips]
        known = {key: self.kept[key] for key in keys if key in self.kept}
        missing = {key: clip for key, clip in zip(keys, clips, strict=True) if key not in known}
        if missing:
            split, names = edited_split(self.split, list(missing.values())), list(missing)
            greedy = SamplingOptions(temperature=0.0, max_completion_length=self.slots)
            placement, base, adapter = self.policy.placement, self.policy.base, self.policy.adapter
            asked = asked_clips(split, self.batch_size, placement.sharding.num_shards)
            compiled = compile_answers(
                Programs(placement.decode),
                "answer",
                base,
                adapter,
                split.prompter.checkpoint.config,
                inputs={bucket: placement.inputs(one.shape, one.rows) for bucket, one in asked.items()},
                sampling=greedy,
                group_size=1,
            )

            def run(bucket: int, *rest: Any) -> Completions:
                return compiled[bucket](base, adapter, *rest)

            for places, texts, _ in predict(split, run, self.batch_size, 0, placement.sharding):
                self._found(known, {names[i]: group[0] for i, group in zip(places, texts, strict=True)})
        return [known[key] for key in keys]

    def scores(self, clips: Sequence[Edited], texts: Sequence[str]) -> list[float | None]:
        """The expected score after each answer's reasoning."""
        keys = [f"{clip!r} {text}" for clip, text in zip(clips, texts, strict=True)]
        known = {key: self.kept[key] for key in keys if key in self.kept}
        missing = {key: (clip, text) for key, clip, text in zip(keys, clips, texts, strict=True) if key not in known}
        if missing:
            split, names = edited_split(self.split, [clip for clip, _ in missing.values()]), list(missing)
            placement = self.policy.placement
            found = expect_scores(
                split,
                Programs(placement.decode),
                self.policy.base,
                self.policy.adapter,
                [[text] for _, text in missing.values()],
                batch_size=self.batch_size,
                inputs=placement.inputs,
                sharding=placement.sharding,
            )
            for places, scores in found:
                values = [None if np.isnan(score) else float(score) for score in scores[:, 0]]
                self._found(known, {names[i]: value for i, value in zip(places, values, strict=True)})
        return [known[key] for key in keys]

    def _found(self, known: dict[str, Any], new: dict[str, Any]) -> None:
        known.update(new)
        self.keep(new)
        self.advance(len(new))
