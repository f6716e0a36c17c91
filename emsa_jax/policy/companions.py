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
CARD = "README.md"  # what the Hub shows of a directory
_PAPERS, _OF_PAPERS = ("LICENSE", "LICENCE", "NOTICE", "SOURCE"), (".txt", ".md", ".rst")
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
        kept = file.suffix in _KINDS or is_paper(file) or (speaks and name == _SPEAKERS)
        if not file.is_file() or not kept or name in _WRITTEN_ANEW or name.endswith(_INDEX):
            continue
        if not lies_in(file, source):
            log.warning(f"{file}: is a link to a file outside of the directory, {file.resolve()}; it is not copied")
        elif file.suffix == ".json" and (content := _without_code_in(file)) is not None:
            (target / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        else:
            shutil.copyfile(file, target / name)


def is_paper(file: Path) -> bool:
    """Whether a file tells of licence or origin, and is no code."""
    plain = all(suffix.lower() in _OF_PAPERS or suffix[1:].isdigit() for suffix in file.suffixes)  # LICENSE-2.0
    return file.name.startswith(_PAPERS) and plain


def without_code(content: Any) -> Any:
    """JSON without the names under which `transformers` looks for code in a directory."""
    if isinstance(content, dict):
        return {name: without_code(value) for name, value in content.items() if name not in _CODE}
    return [without_code(value) for value in content] if isinstance(content, list) else content


def _without_code_in(file: Path) -> Any:
    """The content of a file that names code, without it; None where there is nothing to leave out."""
    try:
        content = json.loads(file.read_bytes())  # in which names may be spelt in many ways
        clean = without_code(content)
    except (ValueError, RecursionError):
        return None
    return None if clean == content else clean


def lies_in(file: Path, source: Path) -> bool:
    """Whether a file is one of its directory, or of a hub's cache, where a directory holds links to its blobs."""
    target, own = file.resolve(), source.resolve()
    blobs = own.parent.parent / "blobs"
    return target.parent == own or (own.parent.name == "snapshots" and target.parent == blobs)
