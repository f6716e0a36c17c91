"""The files of a policy directory beside its weights and config.json: which of them go along when it is written anew.

Those that say something about the policy do: settings, tokenizer, chat template, licence. Code does not, nor the names
under which `transformers` would run some, nor what a link takes from outside of the directory.
"""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

from emsa_jax import manifest

log = logging.getLogger(__name__)
_KINDS = (".json", ".jinja", ".txt", ".model", ".tiktoken", ".md")
_PAPERS = ("LICENSE", "LICENCE", "NOTICE", "SOURCE")
_WRITTEN_ANEW = ("config.json", manifest.NAME)
_INDEX = ".index.json"  # of weights
_CODE = ("auto_map", "custom_pipelines")
_SPEAKERS = "spk_dict.pt"  # without which the full class does not open: copied, never read


def copy_companions(source: Path, target: Path, speaks: bool) -> None:
    """Copies the files beside the weights.

    speaks: whether the policy has the half that speaks, whose speakers then go along. A warning names each file that a
    link takes from outside."""
    for file in sorted(source.iterdir()):
        name = file.name
        kept = file.suffix in _KINDS or name.startswith(_PAPERS) or (speaks and name == _SPEAKERS)
        if not file.is_file() or not kept or name in _WRITTEN_ANEW or name.endswith(_INDEX):
            continue
        if not _lies_in(file, source):
            log.warning(f"{file}: is a link to a file outside of the directory, {file.resolve()}; it is not copied")
        elif file.suffix == ".json" and (content := _without_code_in(file)) is not None:
            (target / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        else:
            shutil.copyfile(file, target / name)


def without_code(content: Any) -> Any:
    """JSON without the names under which `transformers` looks for code in a directory."""
    if isinstance(content, dict):
        return {name: without_code(value) for name, value in content.items() if name not in _CODE}
    return [without_code(value) for value in content] if isinstance(content, list) else content


def _without_code_in(file: Path) -> Any:
    """The content of a file that names code, without it; None where there is nothing to leave out."""
    text = file.read_bytes()
    if not any(f'"{name}"'.encode() in text for name in _CODE):
        return None
    try:
        return without_code(json.loads(text))
    except (ValueError, RecursionError):
        return None


def _lies_in(file: Path, source: Path) -> bool:
    """Whether a file is one of its directory, or of a hub's cache, where a directory holds links to its blobs."""
    target, own = file.resolve(), source.resolve()
    blobs = own.parent.parent / "blobs"
    return target.parent == own or (own.parent.name == "snapshots" and target.parent == blobs)
