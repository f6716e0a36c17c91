"""Hugging Face checkpoint directories in and out, tensor by tensor.

Read: thinker-only and full (`thinker.*`) directories, one file or shards. Every tensor must be there, none may be
left over and each must have its shape; a head that is missing is an error, never random.
"""
from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from emsa_jax import manifest
from emsa_jax.errors import InputError
from emsa_jax.policy.config import ThinkerConfig, read_config, to_hf
from emsa_jax.policy.table import ParamSpec, get, nest, param_table

SHARD_BYTES = 5 * 10**9
PASS_THROUGH = ("talker.", "token2wav.")  # the speaking half of a full checkpoint: never read, kept on export
WEIGHTS = (".safetensors", ".safetensors.index.json", ".bin", ".pt", ".pth")


def tensor_files(directory: str | Path) -> dict[str, Path]:
    """Tensor name -> file, for one `model.safetensors` or shards with an index. Raises: InputError."""
    directory = Path(directory)
    index = directory / "model.safetensors.index.json"
    if index.exists():
        try:
            names = json.loads(index.read_text())["weight_map"]
        except (ValueError, KeyError) as error:
            raise InputError(f"{index}: no readable weight_map") from error
        return {name: directory / file for name, file in names.items()}
    single = directory / "model.safetensors"
    if not single.exists():
        raise InputError(f"{directory}: neither model.safetensors nor model.safetensors.index.json is there")
    with _open(single) as file:
        return dict.fromkeys(file.keys(), single)


def has_weights(directory: str | Path) -> bool:
    """Whether a directory holds safetensors, in one file or shards."""
    return any((Path(directory) / name).exists() for name in ("model.safetensors", "model.safetensors.index.json"))


def load(directory: str | Path, dtype=None) -> tuple[ThinkerConfig, dict]:
    """Reads a policy directory.

    Layer after layer is read into its place in a preallocated stack, and each file is closed again, so that host
    memory stays at the parameters plus one stacked tensor.

    Args:
      directory: with config.json and safetensors; a hash manifest is verified first where there is one.
      dtype: of the parameters (default: as on disk).

    Returns:
      (config, params). Raises: InputError naming the file and the tensor.
    """
    directory = Path(directory)
    manifest.require_sound(directory)
    config = read_config(directory)
    files = tensor_files(directory)
    prefix = "thinker." if any(name.startswith("thinker.") for name in files) else ""
    config = replace(config, tie_word_embeddings=_tied(config, files, prefix, directory))
    specs = param_table(config)
    expected = {prefix + name for spec in specs for name in _disk_names(spec)}
    missing = sorted(expected - set(files))
    extra = sorted(n for n in set(files) - expected if not n.startswith(PASS_THROUGH))
    if missing or extra:
        raise InputError(f"{directory}: {len(missing)} tensors are missing and {len(extra)} are unknown, first "
                         f"{(missing or extra)[0]!r} ({'missing' if missing else 'unknown'})")
    return config, nest((spec.path, _load_stack(spec, prefix, files, dtype)) for spec in specs)


def _tied(config: ThinkerConfig, files: dict, prefix: str, directory: Path) -> bool:
    if prefix + "lm_head.weight" in files:
        return False
    if not config.tie_word_embeddings:
        raise InputError(f"{directory}: {prefix}lm_head.weight is missing and tie_word_embeddings is false")
    return True


def _disk_names(spec: ParamSpec) -> list[str]:
    return [spec.disk.format(n=n) for n in range(spec.layers)] if spec.layers else [spec.disk]


def _load_stack(spec: ParamSpec, prefix: str, files: dict[str, Path], dtype) -> jax.Array:
    stack = None
    for i, name in enumerate(_disk_names(spec)):
        tensor = _read(files[prefix + name], prefix + name, spec.shape)
        if stack is None:
            stack = np.empty(spec.stacked_shape, dtype or tensor.dtype)
        stack[i if spec.layers else ...] = tensor
        del tensor
    return jnp.asarray(stack)


def _read(path: Path, name: str, shape: tuple[int, ...]) -> np.ndarray:
    with _open(path) as file:
        try:
            tensor = file.get_tensor(name)
        except SafetensorError as error:
            raise InputError(f"{path}: {name} cannot be read ({error})") from error
    if tensor.shape != shape:
        raise InputError(f"{path}: {name} has shape {list(tensor.shape)}, but config.json asks for {list(shape)}")
    return tensor


def _open(path: Path):
    try:
        return safe_open(path, "numpy")
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from error


def save(directory: str | Path, config: ThinkerConfig, params: dict, source: str | Path | None = None,
         extra: dict | None = None, shard_bytes: int = SHARD_BYTES) -> None:
    """Writes a policy directory that `transformers` loads, with a hash manifest, all or nothing.

    Args:
      directory: must not exist yet.
      source: the directory the policy came from: its tokenizer, template and preprocessor files are copied, and if
        it is a full checkpoint, `thinker.` names and the speaking half are kept. It may hold such files alone.
      extra: entries for the manifest.
    """
    directory = Path(directory)
    if directory.exists():
        raise InputError(f"{directory}: exists already; remove it or export elsewhere")
    directory.parent.mkdir(parents=True, exist_ok=True)
    part = directory.with_name(directory.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    names = tensor_files(source) if source and has_weights(source) else {}
    kept = {name: file for name, file in names.items() if name.startswith(PASS_THROUGH)}
    prefix = "thinker." if any(name.startswith("thinker.") for name in names) else ""
    if source:
        for file in Path(source).iterdir():
            if file.is_file() and not file.name.endswith(WEIGHTS) and file.name not in ("config.json", manifest.NAME):
                shutil.copyfile(file, part / file.name)
    _write_config(part, config, params, source)
    tensors = ((prefix + name, get(params, spec.path), i if spec.layers else None)
               for spec in param_table(config) for i, name in enumerate(_disk_names(spec)))
    _write_shards(part, tensors, kept, shard_bytes)
    manifest.write_manifest(part, extra)
    part.rename(directory)
    manifest.fsync(directory.parent)


def _write_config(part: Path, config: ThinkerConfig, params: dict, source) -> None:
    dtype = str(params["text"]["embed_tokens"].dtype)
    if source and (Path(source) / "config.json").exists():  # what we do not model there stays as it was
        raw = json.loads((Path(source) / "config.json").read_text())
        for section in (raw, raw.get("thinker_config", {})):
            section.update({key: dtype for key in ("dtype", "torch_dtype") if key in section})
        raw.get("thinker_config", raw)["tie_word_embeddings"] = config.tie_word_embeddings
    else:
        raw = to_hf(config, dtype)
    (part / "config.json").write_text(json.dumps(raw, indent=2, ensure_ascii=False) + "\n")


def _write_shards(part: Path, tensors, kept: dict[str, Path], shard_bytes: int) -> None:
    shards: list[list[str]] = []
    batch: dict[str, np.ndarray] = {}

    def flush():
        if batch:
            save_file(batch, part / f"{len(shards):05d}.part", metadata={"format": "pt"})
            shards.append(list(batch))
            batch.clear()

    def add(name, array):
        if batch and sum(a.nbytes for a in batch.values()) + array.nbytes > shard_bytes:
            flush()
        batch[name] = array

    sizes = 0
    for name, stack, layer in tensors:
        array = np.ascontiguousarray(np.asarray(stack if layer is None else stack[layer]))
        sizes += array.nbytes
        add(name, array)
    for name, path in kept.items():
        with _open(path) as file:
            array = file.get_tensor(name)
        sizes += array.nbytes
        add(name, array)
    flush()
    names = ["model.safetensors"] if len(shards) == 1 else [
        f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    for i, name in enumerate(names):
        (part / f"{i:05d}.part").rename(part / name)
    if len(names) > 1:
        index = {"metadata": {"total_size": sizes},
                 "weight_map": {n: name for keys, name in zip(shards, names, strict=True) for n in keys}}
        (part / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
