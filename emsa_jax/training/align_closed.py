"""Projectors in closed form: ridge regression from the towers' tokens to the embeddings of what describes the clip.

Every token of a clip is regressed on the mean embedding of its description. Each different description weighs the
same, as does each clip of it, and each token of a clip, so that neither common classes nor long clips count for more.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from emsa_jax.errors import InputError
from emsa_jax.learning.ridge import RidgeSums
from emsa_jax.policy.inputs import PromptInputs, media_rows
from emsa_jax.policy.layout import on_host, place
from emsa_jax.policy.parameter_table import get, param_table
from emsa_jax.policy.thinker import projector, projector_features, tower_states
from emsa_jax.rollout.answering import Asked, asked_clips
from emsa_jax.runtime.console import say
from emsa_jax.runtime.programs import Programs
from emsa_jax.training.align_setup import AlignSetup
from emsa_jax.training.loop import prepare_ahead

FAR_OFF = 3.0  # times as long as words, or as short: media tokens of such a length are told of
SAME = 1e-12  # of the mean square: float64 has no more digits to tell a smaller variance from a rounding
FEW = 32  # different descriptions up to which it is told how often the nearest one is right


@dataclass(frozen=True)
class TowerSums:
    """Of one tower, over all clips. clips: places in the training set. means: [clips, d], the mean of their tokens."""

    sums: RidgeSums
    clips: np.ndarray
    means: np.ndarray


def fit_projectors(setup: AlignSetup, params: dict) -> tuple[dict, dict[str, float]]:
    """(the parameters with the last linear of each projector fitted, what is logged)."""
    embeddings = description_embeddings(setup, params)
    fitted, logged = params, {}
    for tower, found in tower_sums(setup, params, embeddings).items():
        name = projector(setup.checkpoint.config, tower)[-1]
        old = [np.asarray(on_host(get(params, (tower, name, kind))), np.float64) for kind in ("weight", "bias")]
        new = solved(found.sums, tower, setup.settings.align.ridge)
        linear = {
            spec.path[-1]: _placed(setup, spec, value)
            for spec in param_table(setup.checkpoint.config)
            for value in new
            if spec.path[:-1] == (tower, name) and value.ndim == len(spec.shape)
        }
        fitted = fitted | {tower: fitted[tower] | {name: linear}}
        logged |= {
            f"{tower}/norm_before": found.sums.output_norm(*old),
            f"{tower}/norm": found.sums.output_norm(*new),
            f"{tower}/explained": found.sums.explained(*new),
        }
        if len(set(setup.texts)) <= FEW:
            logged[f"{tower}/nearest"] = _nearest(setup, found, embeddings, new)
    logged["word_norm"] = word_norm(params)
    tell(logged)
    return fitted, logged


def solved(sums: RidgeSums, tower: str, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """`RidgeSums.solve`. Raises InputError where there is nothing to fit: all tokens are the same, say of silent clips,
    or no ridge holds what they do not span."""
    new: tuple = ()
    with contextlib.suppress(np.linalg.LinAlgError), np.errstate(all="ignore"):  # which is named below
        new = sums.solve(ridge) if sums.spread > SAME else ()
    if not new or not all(np.isfinite(part).all() for part in new):
        raise InputError(
            f"align: the tokens of the {tower} tower cannot be fitted: they are the same for all clips, as of silence "
            f"or one still picture, or not finite; look at the clips, raise align.ridge, or take {tower} out of "
            "align.towers"
        )
    return new


def description_embeddings(setup: AlignSetup, params: dict) -> np.ndarray:
    """[clips, D] float64: the mean embedding of the tokens of each clip's description, as it stands within a text."""
    table, tokenizer = on_host(params["text"]["embed_tokens"]), setup.checkpoint.tokenizer
    words = [text if entry.language == "zh" else f" {text}" for text, entry in _described(setup)]
    mean = {
        text: np.asarray(table[tokenizer(text, add_special_tokens=False)["input_ids"]], np.float64).mean(0)
        for text in set(words)
    }
    return np.stack([mean[text] for text in words])


def tower_sums(setup: AlignSetup, params: dict, embeddings: np.ndarray) -> dict[str, TowerSums]:
    """Tower -> the sums of its projector's inputs and of what they are regressed on, over the clips of all processes.

    embeddings: of the clips' descriptions, [clips, D]."""
    sharding, counts = setup.placement.sharding, Counter(setup.texts)
    sums: dict[str, Any] = dict.fromkeys(setup.settings.align.towers)
    seen: dict[str, list] = {tower: [] for tower in sums}
    for index, tower, x in features(setup, params):
        weight = np.full(len(x), 1 / (len(x) * counts[setup.texts[index]]))
        more = RidgeSums.of(x, np.broadcast_to(embeddings[index], (len(x), embeddings.shape[1])), weight)
        sums[tower] = more if sums[tower] is None else sums[tower] + more
        seen[tower].append((index, x.mean(0, dtype=np.float64)))
    found = {}
    for tower, mine in sums.items():
        width = get(params, (tower, projector(setup.checkpoint.config, tower)[-1], "weight")).shape[1]
        mine = mine or RidgeSums(np.zeros((width + 1,) * 2), np.zeros((width + 1, embeddings.shape[1])), 0.0)
        parts = sharding.all_gather((mine.xx[None], mine.xy[None], np.array([mine.yy])), f"sums of {tower}")
        xx, xy, yy = (part.sum(0) for part in parts)
        places = np.array([index for index, _ in seen[tower]], np.int64)
        means = np.array([mean for _, mean in seen[tower]], np.float64).reshape(-1, width)
        places, means = sharding.all_gather((places, means), f"clips of {tower}")
        if len(places):
            found[tower] = TowerSums(RidgeSums(xx, xy, float(yy)), places, means)
    return found


def features(setup: AlignSetup, params: dict, limit: int | None = None) -> Iterator[tuple[int, str, np.ndarray]]:
    """(place of a clip in the training set, tower, what the last linear of its projector reads of it, [tokens, d])
    for the clips of this process. limit: only the first clips, so many."""
    train, sharding, config = setup.train, setup.placement.sharding, setup.checkpoint.config
    members, programs = range(len(train))[:limit], Programs(setup.placement.update)
    asked = asked_clips(train, setup.settings.align.batch_size, sharding.num_shards, members)

    def encode(params: dict, inputs: PromptInputs) -> dict[str, jax.Array]:
        return projector_features(params, None, inputs.states or tower_states(params, None, config, inputs))

    def prepare(batch: tuple[int, Asked, int]) -> tuple[int, list[int], PromptInputs]:
        bucket, group, start = batch
        local = sharding.local_rows(group.rows)
        indices = group.indices[start : start + group.rows][local.start : local.stop].tolist()
        clips = [train[i] for i in indices]
        return bucket, indices, train.prompter.inputs(clips, group.shape, len(local), sharding)

    encoders = {}
    for bucket, group in asked.items():
        arguments = (params, setup.placement.inputs(group.shape, group.rows))
        out = setup.placement.update.batch()
        encoders[bucket] = programs.add("encode", encode, *arguments, label=f"encode/{bucket}", out=out).bind(params)
    starts = ((bucket, group, at) for bucket, group in asked.items() for at in range(0, len(group.indices), group.rows))
    for bucket, indices, inputs in prepare_ahead(starts, prepare):
        made = sharding.fetch(encoders[bucket](inputs))
        for index, rows in zip(indices, media_rows(config, inputs, sharding.local_shards), strict=False):
            for tower in setup.settings.align.towers:
                if len(rows[tower]):
                    yield index, tower, np.asarray(made[tower][rows[tower]], np.float32)


def word_norm(params: dict) -> float:
    """The root of the mean squared length of the words' embeddings."""
    table = np.asarray(on_host(params["text"]["embed_tokens"]), np.float32)
    return float(np.sqrt(np.mean(np.einsum("vd,vd->v", table, table))))


def tell(values: Mapping[str, float]) -> None:
    """Says how long media tokens are beside words, and how well they fit. values: as logged."""
    words = values["word_norm"]
    for name in [name for name in values if name.endswith("/norm")]:
        tower, norm = name.partition("/")[0], values[name]
        fit = {"explained": "variance explained {:.1%}", "nearest": "nearest description right {:.1%} (training clips)"}
        told = [text.format(values[f"{tower}/{key}"]) for key, text in fit.items() if f"{tower}/{key}" in values]
        before = f"norm {values[f'{tower}/norm_before']:.3g} before, {norm:.3g} now; words {words:.3g}"
        say(f"align: {tower} tokens: {'; '.join([before, *told])}")
        if not 1 / FAR_OFF < norm / words < FAR_OFF:
            advice = "lower align.ridge" if norm < words else "raise align.ridge, or lower align.learning_rate"
            say(f"warning: {tower} tokens are {norm / words:.2g} times as long as words; {advice}")


def _nearest(setup: AlignSetup, found: TowerSums, embeddings: np.ndarray, linear: tuple) -> float:
    """How often the description nearest to a clip's mean token is its own: the mean over descriptions."""
    names = sorted(set(setup.texts))
    targets = np.stack([embeddings[setup.texts.index(name)] for name in names])
    made = found.means @ linear[0].T + linear[1]
    guess = ((made[:, None] - targets[None]) ** 2).sum(-1).argmin(1)
    truth = np.array([names.index(setup.texts[i]) for i in found.clips])
    return float(np.mean([np.mean(guess[truth == k] == k) for k in np.unique(truth)]))


def _described(setup: AlignSetup) -> Iterator[tuple]:
    return zip(setup.texts, setup.train.entries, strict=True)


def _placed(setup: AlignSetup, spec: Any, value: np.ndarray) -> jax.Array:
    """A parameter in the policy's dtype, where the table has it."""
    return place(value.astype(setup.settings.dtype), setup.placement.update.param(spec))
