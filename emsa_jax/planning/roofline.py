"""How long a GRPO step would take, from FLOPs, bytes and links alone: nothing here was measured on an accelerator."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from emsa_jax.planning.memory import GrpoWork
from emsa_jax.planning.topologies import Chip
from emsa_jax.policy.flops import GroupFlops, attention_pair, group_flops, text_linears
from emsa_jax.policy.inputs import PromptInputs
from emsa_jax.policy.lora import Adapter, abstract_adapter
from emsa_jax.policy.thinker_config import ThinkerConfig
from emsa_jax.runtime.placement import ELEMENT_BYTES


@dataclass(frozen=True)
class Assumptions:
    """What programs reach of the numbers in a data sheet, and what a message costs beside its bytes.

    Communication is not hidden behind computation.

    Attributes:
      encode, prefill, update: part of the FLOPs that each phase reaches.
      decode: part that a token of decoding reaches of the FLOPs or of the memory's bandwidth, whichever takes longer.
      links: part of the links' bytes a second.
      hop: seconds for a message to the next device. outer_hop: the same to another slice or machine.
    """

    encode: float = 0.4
    prefill: float = 0.5
    update: float = 0.4
    decode: float = 0.6
    links: float = 0.7
    hop: float = 1e-6
    outer_hop: float = 10e-6


@dataclass(frozen=True, kw_only=True)
class Step:
    """The work of one GRPO step.

    Attributes:
      adapter: arrays or ShapeDtypeStructs, of which the shapes count.
      prompt: the inputs of one prompt, as NumPy arrays.
      prompts: of the whole step.
      group_size: answers to a prompt.
      answer_slots: tokens of an answer; every answer is taken to be as long.
      remat: what the backward pass computes again: "none", "dots" or "full".
      reference: whether there is a pass of the reference policy.
      element_bytes: of a weight.
    """

    policy: ThinkerConfig
    adapter: Adapter
    prompt: PromptInputs
    prompts: int
    group_size: int
    answer_slots: int
    micro_batches: int
    remat: str
    reference: bool
    element_bytes: int = 2

    @classmethod
    def of(cls, work: GrpoWork, policy: ThinkerConfig, prompt: PromptInputs) -> Step:
        """The step whose memory is planned too. work: with `micro_batches` and `remat` as they were chosen."""
        return cls(
            policy=policy,
            adapter=abstract_adapter(policy, work.lora),
            prompt=prompt,
            prompts=work.prompts,
            group_size=work.group_size,
            answer_slots=work.answer_slots,
            micro_batches=work.micro_batches,
            remat=work.remat,
            reference=work.reference,
            element_bytes=ELEMENT_BYTES[work.dtype],
        )

    @property
    def flops(self) -> GroupFlops:
        """FLOPs of the whole step, on all devices together."""
        lengths = np.full((1, self.group_size), self.answer_slots)
        group = group_flops(self.policy, self.adapter, self.prompt, lengths)
        return GroupFlops(**{name: self.prompts * value for name, value in vars(group).items()})

    @property
    def prompt_tokens(self) -> int:
        """Tokens of one prompt."""
        return int(self.prompt.mask.sum())

    @property
    def answer_tokens(self) -> int:
        """Tokens of all answers to one prompt."""
        return self.group_size * self.answer_slots

    @property
    def recomputed(self) -> float:
        """FLOPs that the backward pass computes again: always those of the head, by `remat` those of layers and
        attention."""
        c, prompt, drawn = self.policy.text, self.prompt_tokens, self.answer_tokens
        pairs = prompt**2 / 2 + self.group_size * (self.answer_slots**2 / 2 + self.answer_slots * prompt)
        layers = {"full": 2 * text_linears(self.policy) * (prompt + drawn), "dots": 0, "none": 0}[self.remat]
        attention = {"full": 1, "dots": 1, "none": 0}[self.remat] * attention_pair(self.policy) * pairs
        return self.prompts * (2 * c.vocab_size * c.hidden_size * drawn + layers + attention)

    @property
    def token_bytes(self) -> int:
        """Bytes of the keys and values of one token, in all layers."""
        c = self.policy.text
        return 2 * c.num_hidden_layers * c.num_key_value_heads * c.head_dim * self.element_bytes

    @property
    def trained(self) -> int:
        """How many numbers are trained."""
        return sum(
            math.prod(ab[part].shape)
            for linears in self.adapter.weights.values()
            for ab in linears.values()
            for part in ab
        )


def step_seconds(
    step: Step, chip: Chip, sizes: tuple[int, int, int], groups: int = 1, assumed: Assumptions = Assumptions()
) -> dict[str, float]:
    """Seconds of the phases encode, prefill, decode, reference and update; "total" of them all, and "links": the part
    of the total that messages take.

    Args:
      sizes: of the mesh: data, fsdp, tensor.
      groups: slices or machines that divide `data`.
    """
    devices, work = math.prod(sizes), step.flops
    seconds = {
        "encode": work.encode / (devices * chip.flops * assumed.encode),
        "prefill": work.prefill / (devices * chip.flops * assumed.prefill),
        "decode": _decode_seconds(step, chip, sizes, assumed),
        "reference": step.reference * work.reference / (devices * chip.flops * assumed.prefill),
        "update": (work.update + step.recomputed) / (devices * chip.flops * assumed.update),
    }
    links = _link_seconds(step, chip, sizes, groups, assumed)
    for name, spent in links.items():
        seconds[name] += spent
    return seconds | {"links": sum(links.values()), "total": sum(seconds.values())}


def _decode_seconds(step: Step, chip: Chip, sizes: tuple[int, int, int], assumed: Assumptions) -> float:
    """Seconds of all tokens. Each reads weights and caches once; caches of answers are half full on average."""
    data, fsdp, tensor = sizes
    c, shards = step.policy.text, data * fsdp
    prompts = step.prompts / shards
    weights = step.element_bytes * (text_linears(step.policy) + c.vocab_size * c.hidden_size) + 4 * step.trained
    cached = prompts * (step.prompt_tokens + step.answer_tokens / 2) * step.token_bytes
    logits = 4 * 4 * prompts * step.group_size * c.vocab_size  # written, and read three times to draw
    read = (weights + cached + logits) / tensor
    flops = step.flops.decode / (step.answer_slots * shards * tensor)
    return step.answer_slots * max(read / (chip.bandwidth * assumed.decode), flops / (chip.flops * assumed.decode))


def _link_seconds(
    step: Step, chip: Chip, sizes: tuple[int, int, int], groups: int, assumed: Assumptions
) -> dict[str, float]:
    """Seconds of messages by phase: sums over `tensor` after attention and MLP, weights gathered along `fsdp`, and
    gradients summed over `data` once for each micro-batch."""
    data, fsdp, tensor = sizes
    c, shards = step.policy.text, data * fsdp
    speed = chip.link * assumed.links
    prompts, prompt = step.prompts / shards, step.prompt_tokens
    answers = prompts * step.group_size

    def all_reduce(size: float, over: int, speed: float = speed, hop: float = assumed.hop) -> float:
        return 0.0 if over == 1 else 2 * (over - 1) / over * size / speed + 2 * (over - 1) * hop

    def all_gather(size: float, over: int) -> float:
        return 0.0 if over == 1 else (over - 1) / over * size / speed + (over - 1) * assumed.hop

    row = step.element_bytes * c.hidden_size  # of one token between two products
    sums, tokens = 2 * c.num_hidden_layers, prompts * (prompt + step.answer_tokens)
    passes = 3 if step.remat == "full" else 2
    spent = {
        "prefill": sums * all_reduce(prompts * prompt * row, tensor),
        "decode": step.answer_slots * sums * all_reduce(answers * row, tensor),
        "reference": step.reference * sums * all_reduce(tokens * row, tensor),
        "update": passes * step.micro_batches * sums * all_reduce(tokens / step.micro_batches * row, tensor),
    }
    layer = step.element_bytes * text_linears(step.policy) / tensor / c.num_hidden_layers
    weights = c.num_hidden_layers * all_gather(layer, fsdp)
    spent["update"] += passes * step.micro_batches * weights
    spent["reference"] += step.reference * weights
    gradient = 4 * step.trained / (fsdp * tensor)
    inner = all_reduce(gradient, data * fsdp // groups)
    outer = all_reduce(gradient, groups, chip.outer_link * assumed.links, assumed.outer_hop)
    spent["update"] += step.micro_batches * (inner + outer)
    return spent
