"""Fields that a run had before, and what to write now. Imports no jax."""

from collections.abc import Callable, Mapping
from typing import Any

from emsa_jax.config.edge import from_config_dict
from emsa_jax.errors import InputError
from emsa_jax.settings.config import Config

# dotted field -> the field that replaces it
RENAMED = {
    "source": "data",
    "view.keep": "prompt.modalities",
    "view.drop_text": "modality_dropout.text",
    "view.drop_audio": "modality_dropout.audio",
    "view.drop_video": "modality_dropout.video",
    "view": "modality_dropout",
    "prompt.video": "prompt.modalities",
    "prompt.audio": "prompt.modalities",
    "prompt.text": "prompt.modalities",
    "cross.reader": "cross.dataset",
    "prepare.frames": "prepare.fps",
    "sampling.greedy": "sampling.temperature",
    "sft.balance": "balance",
    "grpo.balance": "balance",
    "sft.optimizer.warmup_steps": "sft.optimizer.warmup",
    "sft.optimizer.warmup_fraction": "sft.optimizer.warmup",
    "grpo.optimizer.warmup_steps": "grpo.optimizer.warmup",
    "grpo.optimizer.warmup_fraction": "grpo.optimizer.warmup",
    "export.merged": "export",
    "export.adapter": "export",
}
# dotted field -> why it is gone
REMOVED = {
    "prepare.jpeg_quality": "frames are kept as JPEG at quality 95, or raw with prepare.frame_format=raw",
    "prepare.shard_bytes": "shards are closed at 256 MiB",
    "prepare.timeout_seconds": "decoding a clip may take 600 seconds",
    "prepare.min_frames": "prepare.fps takes at least 4 frames, as Qwen2.5-Omni does",
    "prepare.max_frames": "prepare.fps takes at most 768 frames, as Qwen2.5-Omni does",
    "prepare.min_pixels": "frames have at least 56 x 56 pixels, as for Qwen2.5-Omni",
    "export.shard_bytes": "weights are written in files of 5 GB",
    "mesh.slices": "the devices say which slice they are of",
    "mesh.timeout": "processes wait 300 seconds for each other",
    "sampling.top_k": "no paper samples so; sampling.top_p cuts the tail",
    "sampling.min_p": "no paper samples so; sampling.top_p cuts the tail",
    "sampling.min_new_tokens": "it is for measurements alone",
    "sampling.suppress_tokens": "it is for measurements alone",
    "adv.ddof": "it is 1, as in TRL, ms-swift and Hint-GRPO",
    "adv.eps": "it is 1e-4, as in TRL, ms-swift and Hint-GRPO",
    "loss.kl_clamp": "no paper clamps the KL",
    "puppets.fooled": "the teacher believes sarcastic words in 90% of the cases",
    "sft.eval_clips": "at most 128 clips are asked about",
    "grpo.samples": "the answers to two prompts of each step are written out",
    "hint.count_in_budget": "forced tokens count toward sampling.max_completion_length",
    "hint.adv_scale": "hinted groups are scaled as the others are",
    "hint.loss_weight": "hinted answers weigh as the others do",
    "hint.on_fail": "hinted groups that are still hard are kept",
    "hint.start_step": "hints are given from the first step on",
    "hint.prob": "every hard group is hinted",
    "hint.max_fraction": "every hard group is hinted",
    "hint.template": "a hint is how the answer format begins",
    "hint.buckets": "hard groups are sampled in buckets of a quarter of the prompts, and of all",
} | {
    f"{stage}.optimizer.{name}": f"it is {value}"
    for stage in ("sft", "grpo")
    for name, value in (("b1", "0.9"), ("eps", "1e-8"))
}


def check_old_fields(names: list[str]) -> None:
    """Raises InputError for the first of dotted fields that a run has no more: it names the one to set, or says why
    there is none. A job that holds a run's config as `base`, or a policy as `local`, has the same fields there."""
    for name in names:
        holder, _, rest = name.partition(".")
        prefix, field = (f"{holder}.", rest) if holder in ("base", "local") else ("", name)
        if field in RENAMED:
            raise InputError(f"config.{name} is no field any more; set config.{prefix}{RENAMED[field]}")
        if field in REMOVED:
            raise InputError(f"config.{name} is no field any more: {REMOVED[field]}")


def upgrade_for(trains: bool) -> Callable[[Mapping[str, Any]], dict[str, Any] | None]:
    """The reader of the config of a run that may have been begun before: with the fields of today, or None where it
    has them already. It raises InputError where the run is to be trained on (`trains`)."""

    def upgrade(config: Mapping[str, Any]) -> dict[str, Any] | None:
        if not is_old(config):
            return None
        if trains:
            raise InputError(
                "the run in --workdir was begun by an earlier version, with other fields: it can be evaluated and "
                "exported (configs/evaluate.py, configs/export.py), but not continued; choose another --workdir"
            )
        return upgraded(config)

    return upgrade


def read_config(config: Mapping[str, Any]) -> Config:
    """The Config of a run from its config.json, of this version or of before."""
    return from_config_dict(Config, upgraded(config) if is_old(config) else config)


def is_old(config: Mapping[str, Any]) -> bool:
    """Whether the config.json of a run has fields of before."""
    return any(_holds(config, name.split(".")) for name in (*RENAMED, *REMOVED)) or isinstance(
        config.get("export"), Mapping
    )


def upgraded(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config.json of a run with the fields of today, as far as they have a successor; others take defaults. Raises
    InputError for one that no version has written."""
    try:
        return _upgraded(config)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"the config.json of a run of before is damaged ({error}); restore it, or choose another --workdir"
        ) from error


def _upgraded(config: Mapping[str, Any]) -> dict[str, Any]:
    new = {name: dict(value) if isinstance(value, Mapping) else value for name, value in config.items()}
    source, view, export = new.pop("source", ""), new.pop("view", {}), new.get("export")
    new["data"] = source or new.get("data", "")
    new["modality_dropout"] = {name: view.get(f"drop_{name}", 0.0) for name in ("text", "audio", "video")}
    prompt = new.get("prompt", {})
    # view.keep acted while learning alone: such a run is evaluated, as it was, on all that its prompts have
    prompt["modalities"] = [name for name in ("text", "audio", "video") if prompt.pop(name, True)]
    if isinstance(export, Mapping):
        new["export"] = [name for name in ("merged", "adapter") if export.get(name, True)]
    if "reader" in new.get("cross", {}):
        new["cross"]["dataset"] = new["cross"].pop("reader")
    if new.get("prepare", {}).pop("frames", "uniform") == "uniform":
        new.get("prepare", {}).pop("fps", None)
    if new.get("sampling", {}).pop("greedy", False):
        new["sampling"]["temperature"] = 0.0
    if isinstance(levels := new.get("hint", {}).get("levels"), list):
        new["hint"]["levels"] = levels[0]
    new["balance"] = any([new.get(stage, {}).pop("balance", False) for stage in ("sft", "grpo")])
    for stage in ("sft", "grpo"):
        optimizer = dict(new.get(stage, {}).get("optimizer", {}))
        steps, share = optimizer.pop("warmup_steps", None), optimizer.pop("warmup_fraction", 0.0)
        if optimizer:
            new[stage]["optimizer"] = optimizer | {"warmup": share if steps is None else float(steps)}
    for name in REMOVED:
        *groups, last = name.split(".")
        group = new
        for part in groups:
            group = group.get(part) if isinstance(group, dict) else None
        if isinstance(group, dict):
            group.pop(last, None)
    return new


def _holds(config: Any, names: list[str]) -> bool:
    for name in names:
        if not isinstance(config, Mapping) or name not in config:
            return False
        config = config[name]
    return True
