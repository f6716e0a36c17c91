"""Fields that a user leaves open take what is known of the run in the work directory, or of the policy that is opened.

A run's config.json knows all of them, a policy's emsa.json how it was asked. Presets do not count as the user's word.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from emsa_jax.answers.concept_table import concept_table
from emsa_jax.answers.formats import format_class
from emsa_jax.config.edge import from_config_dict, to_dict
from emsa_jax.config.fields import value_text
from emsa_jax.data.datasets import PUPPETS, is_prepared, labels_of, read_clips
from emsa_jax.data.records import read_manifest
from emsa_jax.errors import InputError
from emsa_jax.json_file import read_saved_json
from emsa_jax.policy.policy_options import EMBEDDED
from emsa_jax.policy.trained_for import NAME, TrainedFor, read_trained_for
from emsa_jax.settings.config import Config
from emsa_jax.settings.help import values_of
from emsa_jax.settings.old_fields import read_config

LEARNS = {"align", "sft", "grpo"}
_JOB = ("stages", "predictions", "out")  # what is done now, whatever the run did
_PLAIN = ("", "plain")  # readers of data that say nothing of their scores and language


def with_defaults(config: Config, given: Collection[str], workdir: Path) -> tuple[Config, list[str]]:
    """(the config with what the user left open, lines that say so).

    given: dotted fields that the user set. Raises: InputError naming the file, for a damaged one."""
    stages = set(config.stages)
    if config.predictions or config.out or "sft" in stages or "align" in stages:
        return config, []
    advice = "restore it, or choose another --workdir"
    if not stages & LEARNS and (before := read_saved_json(workdir / "config.json", advice, {str: object})):
        return _of_run(config, given, before, workdir)
    return _of_policy(config, given) if stages & {"grpo", "evaluate"} else (config, [])


def _of_run(
    config: Config, given: Collection[str], before: Mapping[str, Any], workdir: Path
) -> tuple[Config, list[str]]:
    """With the fields of the run that the work directory belongs to."""
    known, now = values_of(read_config(before)), values_of(config)
    changed = {
        name: value
        for name, value in known.items()
        if name not in _JOB and not _is_given(name, given) and to_dict(value) != to_dict(now[name])
    }
    if not changed:
        return config, []
    shown = ", ".join(f"{name}={value_text(value)}" for name, value in list(changed.items())[:4])
    more = f" and {len(changed) - 4} more" if len(changed) > 4 else ""
    return _changed(config, changed), [f"note: as the run in {workdir} has it: {shown}{more}"]


def _of_policy(config: Config, given: Collection[str]) -> tuple[Config, list[str]]:
    """With what the policy was trained for, and a warning for what the user set to something else."""
    if config.policy in ("", *EMBEDDED):
        return config, []
    places = [Path(place) for place in (config.adapter, config.policy) if place]
    trained_for = read_trained_for(*places)
    if trained_for is None:
        return config, []
    where = next(place / NAME for place in places if (place / NAME).exists())
    try:
        format_class(trained_for.format)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    now, own = values_of(config), _of_data(config, given, trained_for)
    wanted = _wanted(trained_for)
    differ = {name: value for name, value in wanted.items() if to_dict(value) != to_dict(own.get(name, now[name]))}
    kept = {name for name in differ if _is_given(name, given) or name in own}
    changed = {name: value for name, value in differ.items() if name not in kept}
    lines = []
    if changed:
        shown = ", ".join(f"{name}={value_text(value)}" for name, value in changed.items())
        lines.append(f"note: as {where} says the policy was trained: {shown}")
    lines += [
        f"warning: {name} is {value_text(own.get(name, now[name]))}, but {where} says that the policy was trained with "
        f"{value_text(differ[name])}"
        for name in differ
        if name in kept
    ]
    try:
        config = _changed(config, changed)
    except InputError as error:  # which names a field that the user did not set
        raise InputError(f"{where}: {error}") from error
    return config, [*lines, *_of_concepts(config, trained_for, where)]


def _wanted(trained_for: TrainedFor) -> dict[str, Any]:
    """Dotted field -> the value that the policy was trained with, as far as that is known."""
    wanted = {
        "format": trained_for.format,
        "score_range": trained_for.score_range,
        "language": trained_for.language,
        "prompt.modalities": trained_for.modalities,
        "prompt.audio_in_video": trained_for.audio_in_video,
        "prompt.capitals": trained_for.capitals,
    }
    if not trained_for.language:
        del wanted["language"]
    if "accuracy" in format_class(trained_for.format).parts:
        wanted["concepts.classes"] = trained_for.classes
    if "video" in trained_for.modalities and trained_for.num_frames:
        wanted["prepare.fps"] = trained_for.fps
        if trained_for.max_pixels:
            wanted["prepare.max_pixels"] = trained_for.max_pixels
        if not trained_for.fps:
            wanted["prepare.num_frames"] = trained_for.num_frames
    return wanted


def _of_data(config: Config, given: Collection[str], trained_for: TrainedFor) -> dict[str, Any]:
    """Dotted field -> what the data themselves say, which no policy changes: labels stay what they are."""
    data, path = config.train_set, Path(config.data)
    if not config.data:
        return {}
    if is_prepared(path):
        manifest = read_manifest(path)
        taken = {f"prepare.{name}": manifest.options.get(name) for name in ("fps", "max_pixels", "num_frames")}
        own = {name: value for name, value in taken.items() if value is not None}
        if len(manifest.languages) == 1:
            own["language"] = manifest.languages[0]
        return own | {"score_range": tuple(manifest.score_range)}
    score_range, language = labels_of(data)
    if config.data in PUPPETS or data.dataset not in _PLAIN:
        return {"score_range": score_range, "language": language}
    same = {"language": language} if language == trained_for.language and not config.language else {}
    if _is_given("score_range", given):
        return same
    if score_range == trained_for.score_range:
        return same | {"score_range": score_range}
    try:
        labelled = any(clip.score is not None for clip in read_clips(path, data, config.read))
    except InputError:  # which may be for its labels, that the policy's range holds; else it is told later
        return same
    return same | ({"score_range": score_range} if labelled else {})


def _of_concepts(config: Config, trained_for: TrainedFor, where: Path) -> Iterable[str]:
    """A warning if the table of concepts is another than the policy's."""
    if trained_for.concepts and format_class(config.format) is format_class(trained_for.format):
        names = tuple(concept.name for concept in concept_table(config.concepts))
        if names != trained_for.concepts:
            yield (
                f"warning: concepts.table has {', '.join(names)}, but {where} says that the policy was trained with "
                f"{', '.join(trained_for.concepts)}"
            )


def _is_given(name: str, given: Collection[str]) -> bool:
    """Whether the user set a field, its group, or a part of it."""
    return any(name == one or name.startswith(f"{one}.") or one.startswith(f"{name}.") for one in given)


def _changed(config: Config, values: Mapping[str, Any]) -> Config:
    """The config with other values of dotted fields, all of it checked."""
    raw = to_dict(config)
    for name, value in values.items():
        *groups, last = name.split(".")
        group = raw
        for part in groups:
            group = group[part]
        group[last] = to_dict(value)
    return replace(from_config_dict(Config, raw), stages=config.stages)
