"""Policy directories in and out, tensor by tensor: those of `transformers` and our own (see `policy.hf_config`).

Read: thinker-only and full (`thinker.*`) directories, text models alone, our own layout, in one file or shards. Every
tensor must be there, none may be left over and each must have its shape; a head that is missing is an error, never
random.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from emsa_jax import manifest
from emsa_jax.errors import InputError
from emsa_jax.parallel import processes
from emsa_jax.policy.companions import CARD, copy_companions, without_code
from emsa_jax.policy.hf_config import read_config, to_hf
from emsa_jax.policy.layout import Layout, on_host
from emsa_jax.policy.parameter_table import ParamSpec, get, nest, param_table
from emsa_jax.policy.processor_files import complete_processor
from emsa_jax.policy.stop_ids import GENERATION_CONFIG, generation_config
from emsa_jax.policy.tensor_files import (
    Box,
    has_weights,
    open_tensors,
    read_boxes,
    tensor_files,
    tensor_layout,
    write_tensors,
)
from emsa_jax.policy.thinker_config import ThinkerConfig
from emsa_jax.policy.trained_for import TrainedFor, write_trained_for

PARTS = ("text", "audio", "vision")
SHARD_BYTES = 5 * 10**9
FLOATS = {"F32": jnp.float32, "F16": jnp.float16, "BF16": jnp.bfloat16}
PASS_THROUGH = ("talker.", "token2wav.")  # the speaking half of a full checkpoint: never read, kept on export
BUFFERS = "rotary_emb.inv_freq"  # old files hold what is computed
# ends of the names that AWQ and GPTQ, compressed-tensors, FP8 and bitsandbytes give to their tensors
QUANTIZED = (
    ".qweight",
    ".qzeros",
    ".g_idx",
    ".weight_packed",
    ".weight_scale",
    ".weight_scale_inv",
    ".input_scale",
    ".absmax",
    ".SCB",
    ".quant_state.bitsandbytes__nf4",
)


def load(
    directory: str | Path, dtype: DTypeLike | None = None, layout: Layout | None = None, parts: Sequence[str] = PARTS
) -> tuple[ThinkerConfig, dict]:
    """Reads a policy directory.

    Layer after layer is read from its file straight into its place in preallocated stacks, which on CPUs are the
    parameters themselves, so that host memory stays at the parameters. Each process reads what its devices hold.

    Args:
      directory: with config.json and safetensors; a hash manifest is verified first where there is one.
      dtype: of the parameters (default: as on disk, float32, float16 or bfloat16).
      layout: where they lie (default: on one device).
      parts: which of "text", "audio" and "vision" are read.

    Returns:
      (config, params). Raises: InputError naming the file and the tensor.
    """
    processes.broadcast(lambda: manifest.require_sound(directory), "hashes of the policy")
    config, prefix, files, headers = _survey(Path(directory))
    return config, nest(
        (spec.path, _load_stack(spec, prefix, files, headers, dtype, layout and layout.param(spec)))
        for spec in param_table(config)
        if spec.path[0] in parts
    )


def read_checked_config(directory: str | Path) -> ThinkerConfig:
    """The config of a policy directory whose tensors are all there, in shape and kind: only headers are read.

    Raises: InputError naming the file and the tensor, as `load` does."""
    return _survey(Path(directory))[0]


def _survey(directory: Path) -> tuple[ThinkerConfig, str, dict[str, Path], dict]:
    """(config, prefix of tensor names, tensor -> file, file -> layout), everything but the values checked."""
    config = read_config(directory)
    files = tensor_files(directory)
    prefix = "thinker." if any(name.startswith("thinker.") for name in files) else ""
    config = replace(config, tie_word_embeddings=_tied(config, files, prefix, directory))
    kept = {name for name in files if name.startswith(PASS_THROUGH) or name.endswith(BUFFERS)}
    return config, prefix, files, _headers(param_table(config), prefix, files, directory, set(files) - kept)


def load_table(
    directory: str | Path,
    table: Sequence[ParamSpec],
    dtype: DTypeLike | None = None,
    known: Callable[[str], bool] = lambda _: True,
    files: dict[str, Path] | None = None,
) -> dict:
    """Reads a part of a directory: the parameters of `table`, whose names on disk are those of the directory.

    known: whether a tensor that the table does not hold may be there.
    files: tensor name -> file (default: the directory's weights).
    Raises: InputError naming the directory and the tensor, as `load` does.
    """
    directory = Path(directory)
    manifest.require_sound(directory)
    files = tensor_files(directory) if files is None else files
    headers = _headers(table, "", files, directory, {name for name in files if not known(name)})
    return nest((spec.path, _load_stack(spec, "", files, headers, dtype, None)) for spec in table)


def _headers(table: Sequence[ParamSpec], prefix: str, files: dict[str, Path], directory: Path, used: set[str]) -> dict:
    """file -> layout of its tensors, all of which are checked but for their values; `used`: those that the table has
    to name."""
    shapes = {prefix + name: spec.shape for spec in table for name in _disk_names(spec)}
    missing, extra = sorted(set(shapes) - set(files)), sorted(used - set(shapes))
    if quantized := [name for name in extra if name.endswith(QUANTIZED)]:
        raise InputError(
            f"{directory}: {quantized[0]!r} is a quantized weight, without a quantization_config in config.json, and "
            "quantized weights are not read; take the model as it was before"
        )
    if missing or extra:
        raise InputError(
            f"{directory}: {len(missing)} tensors are missing and {len(extra)} are unknown, first "
            f"{(missing or extra)[0]!r} ({'missing' if missing else 'unknown'})"
        )
    layouts = {path: tensor_layout(path) for path in {files[name] for name in shapes}}
    for name, shape in shapes.items():
        _stored_dtype(layouts[files[name]], files[name], name, shape)
    return layouts


def _tied(config: ThinkerConfig, files: dict, prefix: str, directory: Path) -> bool:
    if prefix + "lm_head.weight" in files:
        return False
    if not config.tie_word_embeddings:
        raise InputError(f"{directory}: {prefix}lm_head.weight is missing and tie_word_embeddings is false")
    return True


def _disk_names(spec: ParamSpec) -> list[str]:
    return [spec.disk.format(n=n) for n in range(spec.layers)] if spec.layers else [spec.disk]


def _load_stack(
    spec: ParamSpec,
    prefix: str,
    files: dict[str, Path],
    headers: dict,
    dtype: DTypeLike,
    sharding: jax.sharding.Sharding | None,
) -> jax.Array:
    boxes, stacks = _boxes(spec, sharding), []
    for i, name in enumerate(prefix + name for name in _disk_names(spec)):
        path = files[name]
        stored = _stored_dtype(headers[path], path, name, spec.shape)
        stacks = stacks or [_aligned((spec.layers,) * bool(spec.layers) + box.shape, dtype or stored) for box in boxes]
        if dtype is None and stored != stacks[0].dtype:
            raise InputError(f"{path}: {name} is {stored}, but the layers before it are {stacks[0].dtype}")
        places = [stack[i] if spec.layers else stack for stack in stacks]
        with open(path, "rb") as file:
            read_boxes(file, headers[path][name][2], spec.shape, stored, boxes, places, f"{path}: {name}")
    if sharding is None:
        return jax.block_until_ready(jax.device_put(stacks[0]))
    parts = [jax.device_put(stack, device) for box, stack in zip(boxes, stacks, strict=True) for device in box.devices]
    return jax.block_until_ready(jax.make_array_from_single_device_arrays(spec.stacked_shape, sharding, parts))


def _boxes(spec: ParamSpec, sharding: jax.sharding.Sharding | None) -> list[Box]:
    """The parts of one layer's tensor that devices of this process hold, each once."""
    if sharding is None:
        return [Box.of((slice(None),) * len(spec.shape), spec.shape, ())]
    devices: dict[tuple, list] = {}
    for device, index in sharding.addressable_devices_indices_map(spec.stacked_shape).items():
        box = Box.of(index[1:] if spec.layers else index, spec.shape, ())
        devices.setdefault((box.rows, box.columns), []).append(device)
    return [Box(rows, columns, spec.shape, tuple(found)) for (rows, columns), found in devices.items()]


def _stored_dtype(layout: dict, path: Path, name: str, shape: tuple[int, ...]) -> np.dtype:
    """The type of a tensor on disk. Raises: InputError if it is not there, or of another shape or kind."""
    if name not in layout:
        raise InputError(f"{path}: {name} cannot be read: the index names this file, but it has no such tensor")
    kind, found, _ = layout[name]
    if found != shape:
        raise InputError(f"{path}: {name} has shape {list(found)}, but config.json asks for {list(shape)}")
    if kind not in FLOATS:
        raise InputError(f"{path}: {name} is of type {kind}, but only {', '.join(FLOATS)} are read")
    return np.dtype(FLOATS[kind])


def _aligned(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """An uninitialised array that starts at a multiple of 64 bytes, so that a CPU device takes it without a copy."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


def save(
    directory: str | Path,
    config: ThinkerConfig,
    params: dict,
    source: str | Path | None = None,
    extra: dict | None = None,
    shard_bytes: int = SHARD_BYTES,
    trained_for: TrainedFor | None = None,
    together: bool = True,
    card: str = "",
) -> None:
    """Writes a policy directory that `transformers` loads, with a hash manifest, all or nothing.

    Process 0 writes; all take part, since parameters on a mesh are gathered one tensor at a time.

    Args:
      directory: must not exist yet.
      source: the directory the policy came from: its tokenizer, template and preprocessor files are copied, and if
        it is a full checkpoint, `thinker.` names and the speaking half are kept. It may hold such files alone.
      extra: entries for the manifest.
      trained_for: how the policy is to be asked (default: as `source` says).
      card: the model card, in place of one that `source` has.
      together: False where process 0 alone calls this, with parameters that it holds whole, while the others wait for
        something else.
    """
    if not processes.is_main():
        for _, stack, layer in _tensors(config, params):
            on_host(stack, layer)
        return processes.broadcast(lambda: None, "a policy is saved")
    with manifest.staged(directory, extra, sum(leaf.nbytes for leaf in jax.tree.leaves(params))) as part:
        names = tensor_files(source) if source and has_weights(source) else {}
        kept = {name: file for name, file in names.items() if name.startswith(PASS_THROUGH)}
        prefix = "thinker." if any(name.startswith("thinker.") for name in names) else ""
        if source:
            copy_companions(Path(source), part, speaks=bool(prefix))
        _write_config(part, config, params, source)
        generation = json.dumps(generation_config(config, source), indent=2) + "\n"
        (part / GENERATION_CONFIG).write_text(generation)
        complete_processor(part, config)
        if trained_for:
            write_trained_for(part, trained_for)
        if card:
            (part / CARD).write_text(card)
        tensors = ((prefix + name, stack, layer) for name, stack, layer in _tensors(config, params))
        _write_shards(part, tensors, kept, shard_bytes)
    if together:
        processes.broadcast(lambda: None, "a policy is saved")


def _tensors(config: ThinkerConfig, params: dict) -> Iterator[tuple[str, Any, int | None]]:
    """(name on disk, array, layer of it or None for all of it) of every tensor."""
    for spec in param_table(config):
        for i, name in enumerate(_disk_names(spec)):
            yield name, get(params, spec.path), i if spec.layers else None


def _write_config(part: Path, config: ThinkerConfig, params: dict, source: str | Path | None) -> None:
    dtype = str(params["text"]["embed_tokens"].dtype)
    if source and (Path(source) / "config.json").exists():  # what we do not model there stays as it was
        raw = without_code(json.loads((Path(source) / "config.json").read_text()))
        for section in (raw, raw.get("thinker_config", {})):
            section.update({key: dtype for key in ("dtype", "torch_dtype") if key in section})
        raw.get("thinker_config", raw)["tie_word_embeddings"] = config.tie_word_embeddings
    else:
        raw = to_hf(config, dtype)
    (part / "config.json").write_text(json.dumps(raw, indent=2, ensure_ascii=False) + "\n")


def _write_shards(
    part: Path, tensors: Iterable[tuple[str, jax.Array, int | None]], kept: dict[str, Path], shard_bytes: int
) -> None:
    shards: list[list[str]] = []
    batch: dict[str, np.ndarray] = {}

    def flush() -> None:
        if batch:
            write_tensors(batch, part / f"{len(shards):05d}.part")
            shards.append(list(batch))
            batch.clear()

    def add(name: str, array: np.ndarray) -> None:
        if batch and sum(a.nbytes for a in batch.values()) + array.nbytes > shard_bytes:
            flush()
        batch[name] = array

    sizes = 0
    for name, stack, layer in tensors:
        array = np.ascontiguousarray(on_host(stack, layer))
        sizes += array.nbytes
        add(name, array)
    for name, path in kept.items():
        with open_tensors(path) as file:
            array = file.get_tensor(name)
        sizes += array.nbytes
        add(name, array)
    flush()
    names = (
        ["model.safetensors"]
        if len(shards) == 1
        else [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    )
    for i, name in enumerate(names):
        (part / f"{i:05d}.part").rename(part / name)
    if len(names) > 1:
        index = {
            "metadata": {"total_size": sizes},
            "weight_map": {n: name for keys, name in zip(shards, names, strict=True) for n in keys},
        }
        (part / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
