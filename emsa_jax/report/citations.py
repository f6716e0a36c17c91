"""What a run rests on, as bibtex: the method that its config names, its data sets, and the software that it ran on.

The entries stand in `templates/references.bib`. A data set of one's own has none: whoever made it knows how to cite it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from emsa_jax.answers.formats import FORMATS
from emsa_jax.data.records import MANIFEST, read_manifest
from emsa_jax.errors import InputError
from emsa_jax.json_file import read_object, read_saved_json
from emsa_jax.report.page import template

NAME = "citations.bib"
METHOD, DATA, SOFTWARE = "Method", "Data", "Software"
_OF_DATA = {  # reader of a data set -> its entries
    "cmu_mosi": ("zadeh2016mosi",),
    "cmu_mosei": ("zadeh2018mosei",),
    "ch_sims": ("yu2020chsims",),
    "ch_sims_v2": ("liu2022chsimsv2",),
    "ch_cems": ("chcems",),
    "meld": ("poria2019meld",),
    "mer2023": ("lian2023mer", "lian2025mer"),
    "mer_caption_plus": ("lian2025affectgpt", "lian2025mer"),
    "merr": ("cheng2024emotionllama", "lian2023mer"),
    "emer": ("lian2023emer", "lian2023mer"),
    "conversations": ("jiang2020dfew", "liu2022mafw"),
    "emotion_llama": ("cheng2024emotionllama", "lian2023mer"),
}
_VERSIONED = {"jax": "jax", "flax": "flax", "transformers": "transformers"}  # entry -> its name in versions.json


def citations(run_dir: str | os.PathLike) -> str:
    """Bibtex of the method, the data and the software of a run.

    Args:
      run_dir: the workdir of a run, which holds its config.json.

    Raises: InputError for a directory that is none, or a damaged file of it."""
    workdir = Path(run_dir)
    config = read_saved_json(workdir / "config.json", kind={str: object})
    if config is None:
        raise InputError(f"{workdir} is no workdir of a run: it holds no config.json")
    stages = config.get("stages", ())
    if not isinstance(stages, list) or not all(isinstance(stage, str) for stage in stages):
        raise InputError(f"{workdir} is no workdir of a run: its config.json names no list of stages")
    made = [stage for stage in ("sft", "grpo") if (workdir / stage).is_dir()]  # by whichever start
    config |= {"stages": [*stages, *made]}
    versions = read_saved_json(workdir / "versions.json", kind=[{str: object}]) or [{}]
    return bibtex(
        {
            METHOD: method_keys(config, _policy_config(workdir, config)),
            DATA: data_keys(_readers(workdir, config)),
            SOFTWARE: software_keys(config),
        },
        versions[-1],
    )


def bibtex(keys: Mapping[str, Iterable[str]], versions: Mapping[str, Any]) -> str:
    """The entries under headings. keys: heading -> names of entries. versions: of libraries, as versions.json has
    them."""
    known, written, parts = entries(), set(), []
    for heading, names in keys.items():
        chosen = [name for name in dict.fromkeys(names) if name not in written]
        written |= set(chosen)
        if chosen:
            parts += [f"% {heading}", *(_with_version(known[name], name, versions) for name in chosen)]
    return "\n\n".join(parts) + "\n"


def entries() -> dict[str, str]:
    """Key -> entry of all that this package knows."""
    found = re.split(r"\n\n(?=@)", template("references.bib").strip())
    return {re.match(r"@\w+\{([^,]+),", entry)[1]: entry for entry in found}


def method_keys(config: Mapping[str, Any], policy: Mapping[str, Any]) -> list[str]:
    """The papers whose method a config takes. policy: the config.json of the policy that it starts from."""
    stages, known = config.get("stages", ()), FORMATS.get(config.get("format", ""))
    learns, hinted = {"sft", "grpo"} & set(stages), config.get("hint", {}).get("mode") == "hint"
    keys = [*known.papers] if learns and known else []
    if "grpo" in stages:
        keys += ["shao2024deepseekmath", *(["huang2025hintgrpo"] if hinted else [])]
    if "grpo" in stages or ("sft" in stages and config.get("sft", {}).get("trainable") == "lora"):
        keys += ["hu2022lora"]
    if str(policy.get("model_type", "")).startswith("qwen2_5_omni"):
        keys += ["xu2025qwen25omni"]
    if any(policy.get(f"{tower}_bridge_config") for tower in ("audio", "vision")):
        keys += ["zhang2026xemogpt"]
    return list(dict.fromkeys(keys))


def data_keys(readers: Iterable[str]) -> list[str]:
    """The papers of data sets, by the readers that read them."""
    return [key for reader in readers for key in _OF_DATA.get(reader, ())]


def software_keys(config: Mapping[str, Any]) -> list[str]:
    """What a run was computed with; transformers where its formats are written for."""
    return ["emsa_jax", "jax", "flax", *(["transformers"] if "export" in config.get("stages", ()) else [])]


def _readers(workdir: Path, config: Mapping[str, Any]) -> list[str]:
    """The readers of the run's data sets, also of those that came prepared."""
    named = [(config.get("data", ""), config.get("dataset", ""), "train")]
    cross = config.get("cross", {})
    named += [(cross.get("data", ""), cross.get("dataset", ""), "cross")]
    named += [(directory, "", "") for directory in config.get("mix", {}).get("data", ())]
    readers = []
    for data, reader, role in named:
        if not data or data.startswith("puppets:"):  # which are drawn, whatever reader their files have
            continue
        places = [Path(data), *([workdir / "records" / role] if role else [])]
        prepared = next((place for place in places if (place / MANIFEST).is_file()), None)
        readers.append(reader or (read_manifest(prepared).dataset if prepared else ""))
    return readers


def _policy_config(workdir: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The config.json of the policy that a run starts from, {} where there is none."""
    if config.get("policy") == "tiny":
        return read_object(workdir / "policy" / "config.json") or {"model_type": "qwen2_5_omni_thinker"}
    return read_object(Path(config["policy"]) / "config.json") or {} if config.get("policy") else {}


def _with_version(entry: str, name: str, versions: Mapping[str, Any]) -> str:
    """The entry with the version that the run had."""
    if name == "emsa_jax":
        return _added(entry, "version", _own_version(versions.get("git")))
    version = versions.get(_VERSIONED.get(name, ""))
    return entry if version is None else _added(entry, "version", str(version))


def _own_version(commit: Any) -> str:
    version = metadata.version("emsa_jax")
    return f"{version}, commit {commit}" if commit else version


def _added(entry: str, field: str, value: str) -> str:
    return entry.removesuffix("\n}") + f",\n  {field} = {{{value}}}\n}}"
