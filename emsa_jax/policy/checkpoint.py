"""A policy as one opens it: parameters, tokenizer and preprocessor settings of one directory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jax.typing import DTypeLike

from emsa_jax import manifest
from emsa_jax.errors import InputError
from emsa_jax.policy import hf
from emsa_jax.policy.layout import Layout
from emsa_jax.policy.preprocessor import Preprocessor, read_preprocessor
from emsa_jax.policy.tensor_files import tensor_files
from emsa_jax.policy.thinker_config import ThinkerConfig
from emsa_jax.policy.tokenizer import read_tokenizer, with_turn_end


@dataclass(frozen=True)
class Checkpoint:
    """An opened policy directory; `params` is None where only prompts are made."""

    directory: Path
    config: ThinkerConfig
    params: dict | None
    tokenizer: Any
    preprocessor: Preprocessor


def open_checkpoint(
    directory: str | Path,
    dtype: DTypeLike | None = None,
    weights: bool = True,
    attention: str = "auto",
    layout: Layout | None = None,
) -> Checkpoint:
    """Opens a policy directory; without `weights` their headers alone are checked. attention: the decoder's kernel.
    layout: where the parameters lie (default: on one device).

    Raises: InputError naming the file that is missing or wrong."""
    directory = Path(directory)
    if not directory.is_dir():
        made = "; make weights makes it" if directory == Path("weights/smol") else ""
        if directory.parent.name == "export" and (workdir := directory.parent.parent).is_dir():
            made = f"; the run in {workdir} has not exported it: its command, given again, goes on to the export"
        raise InputError(f"policy {directory}: no such directory{made}")
    config, params = hf.load(directory, dtype, layout) if weights else (hf.read_checked_config(directory), None)
    tokenizer = read_tokenizer(directory, config)
    config = with_turn_end(replace(config, text=replace(config.text, attention=attention)), tokenizer)
    return Checkpoint(directory, config, params, tokenizer, read_preprocessor(directory, config))


def load_weights(checkpoint: Checkpoint, dtype: DTypeLike | None = None, layout: Layout | None = None) -> Checkpoint:
    """A checkpoint that was opened without weights, with them."""
    return replace(checkpoint, params=hf.load(checkpoint.directory, dtype, layout)[1])


def fingerprint(directory: str | Path) -> str:
    """sha256 that stands for a policy directory: of its hash manifest, or of its weights, config and tokenizer."""
    directory = Path(directory)
    if (directory / manifest.NAME).exists():
        return manifest.sha256_file(directory / manifest.NAME)
    texts = {path for path in directory.iterdir() if path.suffix in (".json", ".jinja", ".txt") and path.is_file()}
    return _sha256(texts | set(tensor_files(directory).values()))


def adapter_fingerprint(directory: Path | None) -> str:
    """sha256 that stands for an adapter directory; "" for none."""
    return _sha256(directory.glob("adapter_*")) if directory else ""


def _sha256(files: Iterable[Path]) -> str:
    parts = [manifest.sha256_file(path) for path in sorted(files)]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()
