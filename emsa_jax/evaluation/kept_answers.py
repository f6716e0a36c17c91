"""Prediction: the answers of a policy to a data set, asked once and kept under a hash of all that decides them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from emsa_jax.answers.messages import messages
from emsa_jax.config.edge import digest, to_dict
from emsa_jax.evaluation.journal import Answered, Journal, read_answers
from emsa_jax.parallel import processes
from emsa_jax.parallel.batch_sharding import BatchSharding
from emsa_jax.policy.lora import Adapter
from emsa_jax.rollout.answering import compile_answers, predict
from emsa_jax.rollout.prompted_data import Split
from emsa_jax.rollout.rollout_options import SamplingOptions
from emsa_jax.runtime.console import progress, say
from emsa_jax.runtime.placement import Placement
from emsa_jax.runtime.programs import Program, Programs
from emsa_jax.runtime.run import Run
from emsa_jax.settings.config import Config


def answers_of(
    run: Run,
    config: Config,
    split: Split,
    base: dict,
    adapter: Adapter | None,
    placement: Placement,
    policy_print: Mapping[str, str],
    label: str,
) -> dict[str, list[Answered]]:
    """Kind ("greedy", "sampled") -> the answers to each clip of the split, in its order, on every process.

    Those on disk are read, the others asked, each batch on disk before the next one.
    policy_print: hashes that stand for policy and adapter.
    """
    options, sharding, found = config.evaluate, placement.sharding, {}
    programs, compiled, missing = Programs(placement.decode), {}, {}
    for kind, (sampling, group_size) in kinds(config).items():
        where = answers_dir(run, config, split, sampling, group_size, policy_print)
        known = processes.broadcast(lambda where=where: read_answers(where), f"answers known: {kind}")
        found[kind] = (where, {id: Answered(*one) for id, one in known.items()})
        missing[kind] = [i for i, entry in enumerate(split.entries) if entry.id not in known]
        if missing[kind]:
            inputs = {
                bucket: placement.inputs(budget, options.batch_size)
                for bucket, budget in split.input_shapes(options.batch_size // sharding.num_shards).items()
            }
            compiled[kind] = compile_answers(
                programs,
                kind,
                base,
                adapter,
                split.prompter.checkpoint.config,
                inputs=inputs,
                sampling=sampling,
                group_size=group_size,
            )
    total = sum(map(len, missing.values()))
    if not total:
        say(f"evaluating {label}: all answers are known")
    else:
        with progress(total, f"evaluating {label}") as advance:
            for kind, members in missing.items():
                _ask(config, split, members, compiled.get(kind), kind, (base, adapter), sharding, *found[kind], advance)
    return {kind: [answers[entry.id] for entry in split.entries] for kind, (_, answers) in found.items()}


def kinds(config: Config) -> dict[str, tuple[SamplingOptions, int]]:
    """What is drawn for each clip: kind -> (sampling, answers)."""
    options = config.evaluate
    greedy = SamplingOptions(temperature=0.0, max_completion_length=config.sampling.max_completion_length)
    return {"greedy": (greedy, 1)} | ({"sampled": (config.sampling, options.samples)} if options.samples else {})


def answers_dir(
    run: Run, config: Config, split: Split, sampling: SamplingOptions, group_size: int, policy_print: Mapping[str, str]
) -> Path:
    """Where these answers lie: a folder named by the hash of policy, data, prompt and decoding. The batch size, how
    many clips are asked about and by how many processes is not in it, as it changes no answer."""
    prompter = split.prompter
    asked = messages(prompter.format, "", prompter.language or "en", True, True)
    identity = {
        "policy": dict(policy_print),
        "dtype": config.dtype,
        "data": split.manifest.digest,
        "split": config.evaluate.split,
        "prompt": to_dict(config.prompt),
        "language": prompter.language,
        "asked": asked,
        "sampling": to_dict(sampling),
        "answers": group_size,
        "seed": None if sampling.greedy else config.seed,
    }
    root = Path(config.evaluate.answers) if config.evaluate.answers else run.path("evaluate", "answers")
    return root / digest(identity)[:16]


def _ask(
    config: Config,
    split: Split,
    members: list[int],
    compiled: Mapping[int, Program] | None,
    kind: str,
    policy: tuple,
    sharding: BatchSharding,
    where: Path,
    answers: dict[str, Answered],
    advance: Callable,
) -> None:
    if not members:
        return
    new = {}  # this process's
    journal = Journal(where, processes.process_index(), processes.process_count())
    try:

        def run(bucket, *rest):
            return compiled[bucket](*policy, *rest)

        for indices, texts, ended in predict(split, run, config.evaluate.batch_size, config.seed, sharding, members):
            ids = [split.entries[i].id for i in indices]
            given = [Answered(list(group), np.asarray(done).tolist()) for group, done in zip(texts, ended, strict=True)]
            journal.write(ids, given)
            new |= zip(ids, given, strict=True)
            advance(len(indices) * sharding.groups)
    finally:
        journal.close()
    lines = np.frombuffer(json.dumps(list(new.items())).encode() + b"\n", np.uint8)
    for part in sharding.all_gather(lines, f"answers: {kind}").tobytes().splitlines():
        answers |= {id: Answered(*one) for id, one in json.loads(part)}
