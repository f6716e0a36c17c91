"""What is shown of a clip: single modalities for ablations, and modalities dropped at random while learning.

A view is a pure function of (clip, step, row) for `pipeline.batches`, with `row` counted in the global batch, so that
any number of processes sees the same:

    batches(source, plan, view=functools.partial(view, rates={"text": 0.3}, seed=0))

Only scores, labels and media are handled here. A written explanation that came with a clip may still speak of what
is no longer shown.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np

from emsa_jax.data.data_options import MODALITIES
from emsa_jax.data.records import Clip, Entry
from emsa_jax.errors import InputError

_Item = TypeVar("_Item", Clip, Entry)
_USE = 1  # keeps these draws apart from those of the plan, whose seeds are shorter


def modalities(item: Clip | Entry) -> tuple[str, ...]:
    """Those of `MODALITIES` that a clip has; from its index entry, those that it will have."""
    frames, sound = (item.num_frames, item.mel_frames) if isinstance(item, Entry) else (len(item.frames), len(item.mel))
    present = {"text": bool(item.text.strip()), "audio": sound > 0, "video": frames > 0}
    return tuple(name for name in MODALITIES if present[name])


def only(item: _Item, kept: Collection[str]) -> _Item:
    """The clip with nothing but `kept` of it; of an index entry, so that prompts are measured as they will be.

    A clip that would be left with nothing is an InputError: no view may show what was to be hidden, or nothing.
    `modalities(entry)` tells beforehand which clips to leave out.
    """
    present = modalities(item)
    if present and not set(present) & set(kept):
        raise InputError(f"{item.id} has {', '.join(present)} but no {' or '.join(kept)}; leave it out of this view")
    changes = {} if "text" in kept else {"text": ""}
    if "audio" not in kept:
        changes |= {"mel_frames": 0} if isinstance(item, Entry) else {"mel": item.mel[:0]}
    if "video" not in kept:
        frames = {"num_frames": 0} if isinstance(item, Entry) else {"frames": item.frames[:0]}
        changes |= {**frames, "frame_rate": 0.0}
    return replace(item, **changes)


def view(
    clip: Clip, step: int, row: int, *, rates: Mapping[str, float], seed: int, among: Collection[str] = MODALITIES
) -> Clip:
    """The clip as it is shown in this row of this step.

    rates: modality -> how often it is dropped, drawn by (seed, step, row). among: the modalities that prompts have. A
    clip never loses its last one of these: where all would go, one of them, each as likely, stays. Prompts only get
    shorter, so lengths measured without dropping stay upper bounds for the plan's buckets.
    """
    present = [name for name in modalities(clip) if name in among]
    # One draw for each modality, there or not: what happens to one does not hang on which others a clip has.
    draws = dict(zip(MODALITIES, np.random.default_rng((seed, step, row, _USE)).random(len(MODALITIES)), strict=True))
    kept = [name for name in present if draws[name] >= rates.get(name, 0.0)]
    if present and not kept:  # each draw is uniform below its rate, so their ratios are alike
        kept = [max(present, key=lambda name: draws[name] / rates[name])]
    return clip if len(kept) == len(present) else only(clip, kept)
