"""The five networks under one interface: a batch and a tree of parameters -> outputs, losses, predictions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from flax.traverse_util import flatten_dict

from emsa_jax.errors import InputError
from emsa_jax.features.almt import ALMT, ALMTOptions
from emsa_jax.features.dlf import DLF, DLFOptions, dlf_loss
from emsa_jax.features.dlf import unused_tensors as unused_dlf
from emsa_jax.features.mag_bert import MAGBert, MAGOptions, align_as_mmsa
from emsa_jax.features.misa import MISA, MISAOptions, misa_loss
from emsa_jax.features.misa import unused_tensors as unused_misa
from emsa_jax.features.mult import MulT, MulTOptions
from emsa_jax.policy.bert import bert_embeddings, bert_layers, encode_bert
from emsa_jax.policy.thinker_config import BertConfig

NetworkOptions = MulTOptions | MISAOptions | ALMTOptions | DLFOptions | MAGOptions
Tree = dict[str, Any]


@struct.dataclass
class Batch:
    """Utterances as a network reads them.

    Attributes:
      text: float [B, L, D], features of words, or int32 [B, 3, L], ids, mask and segments for BERT.
      mask: [B, L], 1 for real steps of the text.
      audio, vision: float [B, Ta, Da], [B, Tv, Dv].
      labels: float [B, 1].
      weight: float [B], 1 for utterances and 0 for rows that fill up the batch.
    """

    text: jax.Array
    mask: jax.Array
    audio: jax.Array
    vision: jax.Array
    labels: jax.Array
    weight: jax.Array


@dataclass(frozen=True)
class Kind:
    """What distinguishes a network from the others.

    Attributes:
      prefix: before BERT's names in its state dict, "" where it has no BERT.
      squared: whether its task loss is the mean squared error, and not the mean absolute one.
      losses: (outputs, labels, weight, options) -> parts of the loss and "total"; None: the task loss alone.
    """

    module: type[nn.Module]
    options: type
    prefix: str
    squared: bool
    losses: Callable[..., dict[str, jax.Array]] | None = None
    prediction: str = "M"


KINDS = {
    "mult": Kind(MulT, MulTOptions, "", False),
    "mag_bert": Kind(MAGBert, MAGOptions, "model.bert.", False),
    "misa": Kind(MISA, MISAOptions, "bertmodel.model.", True, misa_loss),
    "almt": Kind(ALMT, ALMTOptions, "bertmodel.model.", True),
    "dlf": Kind(DLF, DLFOptions, "text_model.model.", False, dlf_loss, "output_logit"),
}


@dataclass(frozen=True)
class Network:
    """A network of `KINDS` with its options. Parameters are {"net": tree} and, with BERT, {"bert": tree of
    `bert_table`}.

    Attributes:
      bert: None: the batch's text is features, which nothing is behind.
    """

    name: str
    options: NetworkOptions
    bert: BertConfig | None = None

    def __post_init__(self) -> None:
        if self.name == "mag_bert" and self.bert is None:
            raise InputError("mag_bert is made of BERT: give its directory as config.bert")
        if self.name == "mult" and self.bert is not None:
            raise InputError("mult reads features of words; leave config.bert empty")

    @property
    def kind(self) -> Kind:
        return KINDS[self.name]

    @cached_property
    def module(self) -> nn.Module:
        return self.kind.module(self.options)

    def outputs(self, params: Tree, batch: Batch, key: jax.Array | None = None) -> dict[str, jax.Array]:
        """What the network gives for a batch. key: of the dropout in training; None: nothing is dropped."""
        rngs = None if key is None else {"dropout": jax.random.fold_in(key, 0)}
        given = self._inputs(params, batch, None if key is None else jax.random.fold_in(key, 1))
        return self.module.apply({"params": params["net"]}, *given, train=key is not None, rngs=rngs)

    def losses(self, params: Tree, batch: Batch, key: jax.Array | None = None) -> dict[str, jax.Array]:
        """The parts of the loss and "total", scalars: means over the rows of the batch that count."""
        outputs = self.outputs(params, batch, key)
        if self.kind.losses:
            return self.kind.losses(outputs, batch.labels, batch.weight, self.options)
        task = self.errors(outputs[self.kind.prediction], batch.labels)
        return {"total": (task * batch.weight).sum() / jnp.maximum(batch.weight.sum(), 1)}

    def errors(self, predictions: jax.Array, labels: jax.Array) -> jax.Array:
        """[B, 1] each -> [B], the task loss of each row, by which checkpoints are chosen."""
        gap = (predictions - labels)[:, 0]
        return gap**2 if self.kind.squared else jnp.abs(gap)

    def init(self, key: jax.Array, batch: Batch) -> Tree:
        """Initial values of {"net"}, as the public code draws them, for batches of these sizes."""
        width = batch.text.shape[-1] if self.bert is None else self.bert.hidden_size
        text = jnp.zeros((1, batch.mask.shape[1], width))
        audio, vision = jnp.zeros((1, *batch.audio.shape[1:])), jnp.zeros((1, *batch.vision.shape[1:]))
        given = self._arguments(text, batch.mask[:1], audio, vision)
        return {"net": self.module.init(key, *given, train=False)["params"]}

    def shapes(self, batch: Batch) -> Tree:
        """`init` as ShapeDtypeStructs: nothing is computed."""
        return _shapes(self, *(getattr(batch, name).shape[1:] for name in ("text", "mask", "audio", "vision")))

    def unused(self, batch: Batch) -> dict[str, tuple[int, ...]]:
        """Tensors that the public code holds without ever training them; an export has them as zeros."""
        net = flatten_dict(self.shapes(batch)["net"], sep=".")
        tensors: dict[str, tuple[int, ...]] = {}
        if self.bert and self.name != "mag_bert":
            size, name = self.bert.hidden_size, f"{self.kind.prefix}pooler.dense"
            tensors |= {f"{name}.weight": (size, size), f"{name}.bias": (size,)}
        if self.name == "misa":
            tensors |= unused_misa(self.options, net["project_t.project_t.weight"].shape[1])
        if self.name == "dlf":
            steps = {m: net[f"align_c_{m}.weight"].shape[1] // self.options.width for m in "lav"}
            tensors |= unused_dlf(self.options, steps)
        return tensors

    def _inputs(self, params: Tree, batch: Batch, key: jax.Array | None) -> tuple:
        if self.bert is None:
            return self._arguments(batch.text, batch.mask, batch.audio, batch.vision)
        ids, mask, segments = (batch.text[:, i].astype(jnp.int32) for i in range(3))
        bert = params["bert"]
        if self.name != "mag_bert":
            text = encode_bert(bert, self.bert, ids, mask, segments, key)
            return self._arguments(text, mask, batch.audio, batch.vision)
        text = bert_embeddings(bert, self.bert, ids, segments, key)
        audio, vision = (align_as_mmsa(x, ids.shape[1]) for x in (batch.audio, batch.vision))
        return text, audio, vision, lambda x: bert_layers(bert, self.bert, x, mask, key)

    def _arguments(self, text: jax.Array, mask: jax.Array, audio: jax.Array, vision: jax.Array) -> tuple:
        """Of the module's `__call__`, `train` left out."""
        if self.name == "mag_bert":
            return text, audio[:, : text.shape[1]], vision[:, : text.shape[1]], lambda x: x
        return (text, mask, audio, vision) if self.name == "misa" else (text, audio, vision)


@functools.lru_cache
def _shapes(network: Network, text: tuple, mask: tuple, audio: tuple, vision: tuple) -> Tree:
    given = (jax.ShapeDtypeStruct((1, *shape), jnp.float32) for shape in (text, mask, audio, vision, (1,), ()))
    return jax.eval_shape(network.init, jax.random.key(0), Batch(*given))
