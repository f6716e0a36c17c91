"""The compiled programs of an engine: made before the first question, so that no question waits for the compiler."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from emsa_jax.policy.decoder import unroll_layers
from emsa_jax.policy.inputs import InputShape, PromptInputs, build_inputs, join_inputs
from emsa_jax.policy.lora import Adapter
from emsa_jax.policy.prompt_row import Row
from emsa_jax.rollout.sampler import cache_sizes
from emsa_jax.runtime.programs import Program, Programs
from emsa_jax.serving.decoding import (
    Answering,
    Asked,
    Knobs,
    Layers,
    Piece,
    begin_answers,
    continue_answers,
    lengthen,
    one_layer,
    stacked_layers,
)
from emsa_jax.serving.opened_policy import OpenedPolicy
from emsa_jax.serving.shapes import PromptShape

LIKELIEST = 20  # alternatives of each place at most, as OpenAI has it


class ServingPrograms:
    """Programs for batches of some numbers of rows, of prompts of some shapes, and answers of up to `slots` tokens.

    Attributes:
      shapes: of prompts, rising. row_counts: of batches, rising.
      likeliest: tokens that are told of each place where alternatives are wanted.
      sizes: of the answers' caches, rising.
    """

    def __init__(
        self, policy: OpenedPolicy, shapes: Sequence[PromptShape], row_counts: Sequence[int], slots: int, chunk: int
    ) -> None:
        """chunk: tokens between two pieces of an answer."""
        self.policy, self.shapes, self.slots = policy, tuple(shapes), slots
        shards = policy.placement.sharding.num_shards
        self.row_counts = tuple(sorted({-(-count // shards) * shards for count in row_counts}))
        self.likeliest = min(LIKELIEST, policy.config.text.vocab_size)
        self.sizes = cache_sizes(slots)
        self.chunk = min(chunk, *self.sizes)
        self._programs = Programs(policy.placement.decode)
        self._begin: dict[tuple[PromptShape, int], Program] = {}
        self._lengthen: dict[tuple[int, int], Program] = {}
        self._continue: dict[tuple[int, int, int], Program] = {}  # by bucket, rows, size of the cache
        self._layers: Any = None

    @property
    def count(self) -> int:
        """How many programs `compile` makes, beside the layers'."""
        return len(self.row_counts) * len(self.shapes) * 2 * len(self.sizes)

    def compile(self, advance: Callable[[], None] = lambda: None) -> None:
        """Compiles all of them, and lays out the decoder's layers. advance: called after each of `count` programs."""
        policy, config = self.policy, self.policy.config
        base, adapter = policy.base, policy.adapter
        self._layers = self._split_layers()
        for rows in self.row_counts:
            knobs = self.knobs(rows)
            for shape in self.shapes:
                begin = functools.partial(begin_answers, config=config, slots=self.sizes[0])
                inputs = policy.placement.inputs(self._part(shape, rows), rows)
                program = self._programs.add(
                    "begin", begin, base, adapter, inputs, label=f"begin/{shape.prompt}x{rows}"
                )
                self._begin[shape, rows] = program
                advance()
                asked, answering = program.out
                for before, size in zip((0, *self.sizes), self.sizes, strict=False):
                    if before:
                        longer = self._programs.add(
                            "lengthen",
                            functools.partial(lengthen, slots=size),
                            answering,
                            label=f"lengthen/{size}x{rows}",
                        )
                        self._lengthen[rows, size] = longer
                        advance()
                        answering = longer.out
                    go_on = functools.partial(
                        continue_answers, config=config, steps=self.chunk, likeliest=self.likeliest
                    )
                    self._continue[shape.prompt, rows, size] = self._programs.add(
                        "continue",
                        go_on,
                        *(base, adapter, self._layers, asked, answering, knobs),
                        donate=(4,),
                        label=f"continue/{shape.prompt}x{rows}/{size}",
                    )
                    advance()

    def _split_layers(self) -> Layers:
        """The decoder's layers as `continue_answers` reads them: one by one where they are not run stacked."""
        base, adapter = self.policy.base, self.policy.adapter
        stack = functools.partial(stacked_layers, dtype=base["text"]["embed_tokens"].dtype)
        if not unroll_layers():
            return self._programs.add("layers", stack, base, adapter)(base, adapter)

        def layer(base: dict, adapter: Adapter | None, index: jax.Array) -> Layers:
            return one_layer(stack(base, adapter), index)

        program = self._programs.add("layer", layer, base, adapter, np.int32(0))
        count = self.policy.config.text.num_hidden_layers
        each = [program(base, adapter, np.int32(i)) for i in range(count)]
        return Layers([one.params for one in each], [one.adapter for one in each])

    def report(self) -> None:
        """Lists what was compiled and how long it took."""
        self._programs.report()

    def rows_for(self, count: int) -> int:
        """The rows of a batch of so many prompts; the most there are where it is more."""
        return next((rows for rows in self.row_counts if rows >= count), self.row_counts[-1])

    def begin(self, shape: PromptShape, rows: Sequence[Row], count: int) -> tuple[Asked, Answering]:
        """Runs the prompts of a batch of `count` rows, the last of which may be nobody's."""
        inputs = self._inputs(shape, [*rows, *[Row([self.policy.config.pad_token_id])] * (count - len(rows))])
        return self._begin[shape, count](self.policy.base, self.policy.adapter, inputs)

    def go_on(
        self, shape: PromptShape, slot: int, asked: Asked, answering: Answering, knobs: Knobs
    ) -> tuple[Answering, Piece]:
        """The next tokens of a batch, of which `slot` are there. `answering` is used up. The piece is on the host."""
        rows = len(knobs.limit)
        size = next(size for size in self.sizes if slot + self.chunk <= size or size == self.sizes[-1])
        if size != jax.tree.leaves(answering.caches)[0].shape[-2]:
            answering = self._lengthen[rows, size](answering)
        program = self._continue[shape.prompt, rows, size]
        answering, piece = program(self.policy.base, self.policy.adapter, self._layers, asked, answering, knobs)
        return answering, jax.device_get(piece)

    def knobs(self, rows: int) -> Knobs:
        """Of a batch of rows that nobody asked for."""
        return Knobs(
            temperature=np.zeros(rows, np.float32),
            top_p=np.ones(rows, np.float32),
            seed=np.zeros(rows, np.int32),
            answer=np.zeros(rows, np.int32),
            limit=np.ones(rows, np.int32),
            stopped=np.ones(rows, bool),
            alternatives=np.array(False),
        )

    def _part(self, shape: PromptShape, rows: int) -> InputShape:
        return shape.of(rows // self.policy.placement.sharding.num_shards)

    def _inputs(self, shape: PromptShape, rows: Sequence[Row]) -> PromptInputs:
        sharding = self.policy.placement.sharding
        size = len(rows) // sharding.num_shards
        parts = [
            build_inputs(self.policy.config, list(rows[i * size : (i + 1) * size]), self._part(shape, len(rows)))
            for i in range(sharding.local_shards)
        ]
        return join_inputs(parts, sharding.num_shards)
