"""The programs of a GRPO step, compiled for every prompt bucket before the first step."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optax

from emsa_jax.learning.grpo_update import GrpoBatch
from emsa_jax.learning.packing import Packing
from emsa_jax.policy.decoder import Cache
from emsa_jax.policy.inputs import InputShape
from emsa_jax.policy.thinker_config import ThinkerConfig
from emsa_jax.rollout.answering import Asked
from emsa_jax.rollout.expected_scores import ScoreTree, pack_said
from emsa_jax.rollout.hints import Hints
from emsa_jax.rollout.sampler import Completions, PromptState
from emsa_jax.runtime.console import say
from emsa_jax.runtime.placement import Placement
from emsa_jax.runtime.programs import Program, Programs, remat_forms
from emsa_jax.training.step_functions import StepFunctions, StepOptions
from emsa_jax.training.validation import compile_validation


@dataclass(frozen=True)
class Base:
    """The frozen parameters as the update reads them, and as decoding does: the same arrays where nothing is gathered
    along fsdp."""

    update: dict
    decode: dict


@dataclass(frozen=True, kw_only=True)
class GrpoStep:
    """The compiled programs of a step for prompts of one bucket. The base's parameters are bound to them.

    relayout: adapter -> the adapter as decoding reads it; None where the update reads it in the same way.
    encode: (adapter, inputs) -> Prompts. prefill: (adapter, prompts) -> PromptState.
    sample: (adapter, cache, noise, prompt_ids, limit) -> Completions.
    prefix: (adapter, cache, noise, forced, lengths) -> log-probabilities of the forced tokens, [N, K].
    ends: (adapter, cache, said, lengths) -> log-probabilities of the scores of a grid, [N, G, K]; None where the reward
      is for the scores that answers have.
    hint: size -> (adapter, cache, noise, rows, forced, lengths, limit) -> Completions of `size` prompts of each shard.
    reference: packed rows -> (inputs, prompts, tokens, packing) -> (log-probabilities, entropies), [N, G, C].
    old: the same with the adapter as the first argument, by the policy that is trained.
    update: packed rows -> (state, prompts, inputs, examples) -> (state, metrics). The state given is used up.
    """

    relayout: Program | None
    encode: Program
    prefill: Program
    sample: Program
    prefix: Program
    ends: Program | None
    hint: Mapping[int, Program]
    reference: Mapping[int, Program]
    old: Mapping[int, Program]
    update: Mapping[int, Program]


@dataclass(frozen=True, kw_only=True)
class GrpoPrograms:
    """All compiled programs of a run.

    steps: prompt bucket -> those of a step. answer: bucket of the validation split -> (adapter, inputs, noise,
    prompt_ids) -> Completions, greedy. relayout: as in `GrpoStep`.
    """

    steps: Mapping[int, GrpoStep]
    answer: Mapping[int, Program]
    relayout: Program | None

    def answers_of(self, adapter: Any) -> Callable[..., Completions]:
        """How an adapter answers: (bucket, inputs, noise, prompt_ids) -> Completions."""
        adapter = self.relayout(adapter) if self.relayout else adapter
        return lambda bucket, *asked: self.answer[bucket](adapter, *asked)


@dataclass(frozen=True, kw_only=True)
class GrpoCompiler:
    """What the programs of all buckets are compiled from. base, reference and state may be ShapeDtypeStructs.

    reference: the reference's adapter, or None. programs: those that are added to, laid out for decoding."""

    functions: StepFunctions
    base: Base
    reference: Any
    state: Any
    hints: Hints
    placement: Placement
    programs: Programs

    def relayout(self) -> Program | None:
        """The program that lays the adapter out for decoding, where that differs."""
        if not self.placement.has_two_layouts:
            return None
        trained = self.state.params
        return self.programs.add("layout", lambda a: a, trained, out=self.placement.decode.adapter(trained))

    def step(self, bucket: int, shape: InputShape, relayout: Program | None) -> GrpoStep:
        """Compiles the programs of a bucket."""
        functions, base, rows = self.functions, self.base.decode, self.placement.decode.batch()
        options, noise = functions.options, np.zeros(3, np.int32)
        n = options.grpo.prompts_per_step
        adapter = relayout.out if relayout else self.state.params
        inputs, ids = self.placement.inputs(shape, n), self.placement.rows(np.zeros(n, np.int32))
        cached = PromptState(Cache(*[self.placement.decode.cache()] * 2), rows, rows, self.placement.decode.batch(1))
        add = functools.partial(self._add, bucket)
        encode = add("encode", functions.encode, base, adapter, inputs, out=rows)
        prefill = add("prefill", functions.prefill, base, adapter, encode.out, out=cached)
        sampled = add("sample", functions.sample, base, adapter, prefill.out, *(noise, ids, ids), out=rows)
        forced = self.placement.rows(self.hints.forced_like(n))
        prefix = add("prefix", functions.prefix, base, adapter, prefill.out, noise, *forced, out=rows)
        ends = None
        if functions.tree:
            slots = functions.slots if self.hints.format.has_reasoning else 0
            said = self.placement.rows(pack_said([], slots, n, options.grpo.group_size))
            ends = add("ends", functions.ends, base, adapter, prefill.out, *said, out=rows).bind(base)
        hint = {}
        for size in self.hints.sizes if options.hint.mode == "hint" else ():
            forced, lengths = self.placement.rows(self.hints.forced_like(size * functions.shards))
            given = (noise, lengths, forced, lengths, lengths)
            hint[size] = add(
                "hint", functions.hint, base, adapter, prefill.out, *given, label=f"{size} groups", out=rows
            )
        return GrpoStep(
            relayout=relayout,
            encode=encode.bind(base),
            prefill=prefill.bind(base),
            sample=sampled.bind(base),
            prefix=prefix.bind(base),
            ends=ends,
            hint={size: program.bind(base) for size, program in hint.items()},
            **self._learning(bucket, inputs, encode.out, sampled.out),
        )

    def _learning(self, bucket: int, inputs: Any, prompts: Any, answers: Any) -> dict[str, dict[int, Program]]:
        """The programs that learn from answers of a bucket, for every count of rows that they are packed into."""
        functions, options, base = self.functions, self.functions.options, self.base.update
        rows, out = (
            self.placement.decode.batch(),
            (self.placement.update.state(self.state), self.placement.update.whole),
        )
        forms = {
            remat: functools.partial(functions.update, remat=remat)
            for remat in remat_forms(options.grpo.remat, self.placement.update.mesh)
        }
        found: dict[str, dict[int, Program]] = {"reference": {}, "old": {}, "update": {}}
        for size in options.grpo.row_sizes:
            add = functools.partial(self._add, bucket, label=f"{size} rows", layout=self.placement.update)
            batch = self.placement.rows(abstract_examples(options, answers, self.hints, size))
            scored = (inputs, prompts, batch.tokens, batch.packing)
            if options.loss.beta > 0:
                program = add("reference", functions.logprobs, base, self.reference, *scored, out=rows)
                found["reference"][size] = program.bind(base, self.reference)
            if options.grpo.num_iterations > 1 or options.loss.top_entropy_quantile < 1:
                program = add("old", functions.logprobs, base, self.state.params, *scored, out=rows)
                found["old"][size] = program.bind(base)
            label, given = f"update/{bucket}/{size} rows", (base, self.state, prompts, inputs, batch)
            program, remat = self.programs.add_fitting(
                "update", forms, *given, label=label, donate=(1,), out=out, layout=self.placement.update
            )
            found["update"][size] = program.bind(base)
            if options.grpo.remat == "auto":
                say(f"{label}: remat {remat}")
        return found

    def _add(self, bucket: int, name: str, *arguments: Any, label: str = "", **options: Any) -> Program:
        label = "/".join(filter(None, (name, str(bucket), label)))
        return self.programs.add(name, *arguments, label=label, **options)


def compile_grpo(
    options: StepOptions,
    policy: ThinkerConfig,
    shapes: Mapping[int, InputShape],
    *,
    base: Base,
    reference: Any,
    state: Any,
    optimizer: optax.GradientTransformation,
    hints: Hints,
    placement: Placement,
    programs: Programs | None = None,
    tree: ScoreTree | None = None,
    asked: Mapping[int, Asked] | None = None,
) -> GrpoPrograms:
    """Compiles every program of a run, for every prompt bucket and hint bucket, before the first step.

    base, reference and state may be ShapeDtypeStructs. shapes: bucket -> sizes of one shard's inputs. reference: the
    reference's adapter, or None. programs: those that are added to, laid out for decoding. tree: of the
    scores that the reward expects, or None. asked: bucket -> clips of the validation split, None for none."""
    adapters = (state.params, reference)
    functions = StepFunctions(
        options=options,
        policy=policy,
        optimizer=optimizer,
        slots=hints.slots,
        shards=placement.sharding.num_shards,
        media_adapted=any(adapter is not None and adapter.touches_towers for adapter in adapters),
        tree=tree,
    )
    compiler = GrpoCompiler(
        functions=functions,
        base=base,
        reference=reference,
        state=state,
        hints=hints,
        placement=placement,
        programs=programs or Programs(placement.decode),
    )
    relayout = compiler.relayout()
    steps = {bucket: compiler.step(bucket, shape, relayout) for bucket, shape in shapes.items()}
    answer = compile_validation(
        compiler.programs,
        asked or {},
        base.decode,
        relayout.out if relayout else state.params,
        policy,
        placement=placement,
        max_completion_length=options.sampling.max_completion_length,
    )
    compiler.programs.report()
    answer = {bucket: program.bind(base.decode) for bucket, program in answer.items()}
    return GrpoPrograms(steps=steps, answer=answer, relayout=relayout)


def abstract_examples(options: StepOptions, answers: Completions, hints: Hints, rows: int) -> GrpoBatch:
    """The shapes of `with_reference(make_examples(...))` where answers are packed into so many rows."""
    n, g, c = answers.tokens.shape
    logps, per_answer = np.zeros((n, g, c), np.float32), np.zeros((n, g), np.float32)
    nll = hints.forced_like(n)[0] if options.hint.polarity_nll else None
    packing = Packing(np.zeros((n, rows, c), np.int32), np.zeros((n, g, c), np.int32))
    return GrpoBatch(
        tokens=np.zeros((n, g, c), np.int32),
        mask=np.zeros((n, g, c), bool),
        sampler_logps=logps,
        old_logps=logps if options.grpo.num_iterations > 1 else None,
        ref_logps=logps if options.loss.beta > 0 else None,
        advantages=per_answer,
        weights=per_answer,
        counted=np.zeros((n, g), bool),
        zero_std=np.zeros((n, g), bool),
        nll_tokens=nll,
        nll_mask=None if nll is None else nll > 0,
        threshold=np.float32(0) if options.loss.top_entropy_quantile < 1 else None,
        packing=packing if options.grpo.answer_rows else None,
    )
