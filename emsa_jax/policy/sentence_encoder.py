"""Sentence encoders: BERT, pooled to one vector for each text, as directories of sentence-transformers describe it.

A directory with modules.json is read as it says (the mean over tokens, or the first token; a linear behind it; length
1); any other BERT directory gets the mean over tokens and length 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from emsa_jax.errors import InputError
from emsa_jax.json_file import read_json, read_object
from emsa_jax.policy import hf
from emsa_jax.policy.bert import encode_bert
from emsa_jax.policy.encoder_tables import dense_table
from emsa_jax.policy.layers import linear
from emsa_jax.policy.parts import read_bert
from emsa_jax.policy.thinker_config import BertConfig

LARGEST = 10**5  # values of a vector
ROWS, LENGTHS = 32, (16, 32, 64, 128, 256, 512)  # shapes that are compiled; texts are padded to them


@dataclass(frozen=True)
class Pooling:
    """How the states of a text's tokens become one vector.

    Attributes:
      tokens: "mean" over all of them, or "cls", the first one's.
      tanh: whether a tanh follows the linear, where there is one.
      normalize: whether vectors get length 1.
    """

    tokens: str = "mean"
    tanh: bool = False
    normalize: bool = True


@dataclass(frozen=True, eq=False)
class SentenceEncoder:
    """An opened sentence encoder.

    Attributes:
      params: {"bert": of `bert_table`} and, where there is a linear, {"dense": {"weight", "bias"}}.
      tokenizer: of the library `tokenizers`; it neither pads nor cuts.
      limit: tokens of a text that are read, its marks at both ends included.
    """

    config: BertConfig
    params: dict
    pooling: Pooling
    tokenizer: Any
    limit: int

    @property
    def width(self) -> int:
        """Size of a vector."""
        return len(self.params["dense"]["weight"]) if "dense" in self.params else self.config.hidden_size

    def tokenize(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """(ids [B, S] int32, mask [B, S] bool) of texts, padded on the right to the longest of them."""
        rows = [self._cut(encoded.ids) for encoded in self.tokenizer.encode_batch(list(texts))]
        return _padded(rows, max(map(len, rows), default=0))

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors [B, width] float32 of texts, in their order."""
        rows = [self._cut(encoded.ids) for encoded in self.tokenizer.encode_batch(list(texts))]
        found = np.zeros((len(rows), self.width), np.float32)
        by_length = np.argsort([len(row) for row in rows], kind="stable")
        for first in range(0, len(rows), ROWS):
            chosen = by_length[first : first + ROWS]
            longest = max(len(rows[i]) for i in chosen)
            slots = next((size for size in LENGTHS if size >= longest), longest)
            ids, mask = _padded([rows[i] for i in chosen] + [[]] * (ROWS - len(chosen)), slots)
            vectors = _compiled(self.params, self.config, self.pooling, ids, mask)
            found[chosen] = np.asarray(vectors, np.float32)[: len(chosen)]
        return found

    def _cut(self, ids: list[int]) -> list[int]:
        """The first tokens, and the mark at the end."""
        return ids if len(ids) <= self.limit else [*ids[: self.limit - 1], ids[-1]]


def sentence_vectors(params: dict, config: BertConfig, pooling: Pooling, ids: jax.Array, mask: jax.Array) -> jax.Array:
    """Texts -> one vector each.

    Args:
      params: as in `SentenceEncoder`.
      ids: [B, S] int32; mask: [B, S] bool, valid tokens.

    Returns:
      [B, width]; of a text without any token, something finite.
    """
    hidden = encode_bert(params["bert"], config, ids, mask)
    valid = jnp.asarray(mask, hidden.dtype)[..., None]
    vectors = hidden[:, 0] if pooling.tokens == "cls" else (hidden * valid).sum(1) / jnp.maximum(valid.sum(1), 1)
    if "dense" in params:
        vectors = linear(vectors, params["dense"])
        vectors = jnp.tanh(vectors) if pooling.tanh else vectors
    if pooling.normalize:
        vectors = vectors / jnp.maximum(jnp.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    return vectors


_compiled = jax.jit(sentence_vectors, static_argnums=(1, 2))


def read_sentence_encoder(directory: str | Path, dtype: DTypeLike | None = None) -> SentenceEncoder:
    """A sentence encoder out of a directory of sentence-transformers, or of BERT alone.

    Raises: InputError naming the file and the field or the tensor.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise InputError(f"encoder {directory}: no such directory")
    config, params, pooling = read_pooled_bert(directory, dtype)
    words = directory / _modules(directory)["Transformer"]
    path = words / "sentence_bert_config.json"
    limit = (read_object(path) or {}).get("max_seq_length") or config.max_position_embeddings
    if not isinstance(limit, int) or not 2 < limit <= config.max_position_embeddings:
        raise InputError(
            f"{path}: max_seq_length is {limit!r}, but the encoder has {config.max_position_embeddings} positions"
        )
    return SentenceEncoder(config, params, pooling, read_bert_tokenizer(words, config.vocab_size), limit)


def read_pooled_bert(directory: str | Path, dtype: DTypeLike | None = None) -> tuple[BertConfig, dict, Pooling]:
    """(config, parameters, pooling) as `sentence_vectors` takes them, out of a directory that may lack a tokenizer.

    Raises: InputError naming the file and the field or the tensor.
    """
    directory = Path(directory)
    places = _modules(directory)
    config, bert = read_bert(directory / places["Transformer"], dtype)
    params, tokens, tanh = {"bert": bert}, "mean", False
    if "Pooling" in places:
        tokens = _pooled_tokens(directory / places["Pooling"] / "config.json", config.hidden_size)
    if "Dense" in places:
        params["dense"], tanh = _read_dense(directory / places["Dense"], config.hidden_size, dtype)
    return config, params, Pooling(tokens, tanh, "Normalize" in places)


def _modules(directory: Path) -> dict[str, str]:
    """Kind of a step -> its place in the directory, as modules.json lists them; without one, mean and length 1."""
    path = directory / "modules.json"
    if not path.exists():
        return {"Transformer": "", "Normalize": ""}
    listed = read_json(path, "encoder")
    if not (isinstance(listed, list) and all(isinstance(m, dict) and isinstance(m.get("type"), str) for m in listed)):
        raise InputError(f"{path}: is no list of modules with a type")
    kinds = [module["type"].rpartition(".")[2] for module in listed]
    steps = ("Transformer", "Pooling", "Dense", "Normalize")
    if kinds != [kind for kind in steps if kind in kinds] or kinds[:2] != list(steps[:2]):
        raise InputError(
            f"{path}: the modules are {', '.join(kinds)}, but only {', '.join(steps)}, in this order, are read"
        )
    places = {kind: module.get("path", "") for kind, module in zip(kinds, listed, strict=True)}
    for kind, place in places.items():
        if not isinstance(place, str) or not (directory / place).resolve().is_relative_to(directory.resolve()):
            raise InputError(f"{path}: {place!r}, the path of {kind}, does not lie in this directory")
    return places


def _pooled_tokens(path: Path, width: int) -> str:
    """ "mean" or "cls"."""
    raw = read_object(path) or {}
    if raw.get("word_embedding_dimension", width) != width:
        raise InputError(
            f"{path}: word_embedding_dimension is {raw['word_embedding_dimension']!r}, but the encoder is {width} wide"
        )
    known = {f"pooling_mode_{name}": short for name, short in (("cls_token", "cls"), ("mean_tokens", "mean"))}
    chosen = [name for name, on in raw.items() if name.startswith("pooling_mode_") and on is True]
    if len(chosen) != 1 or chosen[0] not in known:
        raise InputError(
            f"{path}: the pooling is {' and '.join(chosen) or 'not said'}, but one of {', '.join(known)} is read"
        )
    return known[chosen[0]]


def _read_dense(directory: Path, width: int, dtype: DTypeLike | None) -> tuple[dict, bool]:
    """({"weight" [out, width], "bias" [out]}, whether a tanh follows)."""
    path = directory / "config.json"
    raw = read_object(path) or {}
    out, act = raw.get("out_features"), str(raw.get("activation_function", "")).rpartition(".")[2]
    if raw.get("in_features") != width:
        raise InputError(f"{path}: in_features is {raw.get('in_features')!r}, but the encoder is {width} wide")
    if not isinstance(out, int) or not 0 < out <= LARGEST:
        raise InputError(f"{path}: out_features is {out!r}, but must be a number of values up to {LARGEST}")
    if act not in ("Tanh", "Identity"):
        raise InputError(f"{path}: activation_function is {act!r}, but only Tanh and Identity are read")
    return hf.load_table(directory, list(dense_table(out, width, raw.get("bias", True))), dtype)["dense"], act == "Tanh"


def read_bert_tokenizer(directory: str | Path, vocab_size: int) -> Any:
    """The tokenizer of a BERT directory, from tokenizer.json or else vocab.txt; it neither pads nor cuts.

    Raises: InputError naming the file.
    """
    whole = Path(directory) / "tokenizer.json"
    return read_tokens(whole if whole.exists() else Path(directory) / "vocab.txt", vocab_size)


def read_tokens(path: Path, vocab_size: int) -> Any:
    """The tokenizer of an encoder, out of its tokenizer.json or vocab.txt. Raises: InputError naming the file."""
    from tokenizers import Tokenizer
    from tokenizers.implementations import BertWordPieceTokenizer

    lower = (read_object(path.with_name("tokenizer_config.json")) or {}).get("do_lower_case", True)
    try:
        words = path.suffix == ".txt"
        tokenizer = BertWordPieceTokenizer(str(path), lowercase=lower) if words else Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare ones
        raise InputError(f"{path}: no tokenizer can be read from it ({str(error).splitlines()[0]})") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if tokenizer.get_vocab_size() > vocab_size:
        raise InputError(
            f"{path}: the tokenizer has {tokenizer.get_vocab_size()} tokens, but the encoder only {vocab_size}"
        )
    return tokenizer


def _padded(rows: Sequence[Sequence[int]], slots: int) -> tuple[np.ndarray, np.ndarray]:
    ids, mask = np.zeros((len(rows), slots), np.int32), np.zeros((len(rows), slots), bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)], mask[i, : len(row)] = row, True
    return ids, mask
