"""Preparing: as the first stage of a run, and as a job of its own that makes a directory of records.

The stage also makes the embedded world and the policy "tiny" where they are asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from emsa_jax.answers.formats import make_format
from emsa_jax.config.edge import to_dict
from emsa_jax.data.data_options import MixOptions, PrepareOptions, PuppetOptions
from emsa_jax.data.dataset_options import Dataset
from emsa_jax.data.datasets import PUPPETS, datasets, is_prepared, labels_of, reader_of
from emsa_jax.data.facts import describe
from emsa_jax.data.findings import overlap_lines
from emsa_jax.data.prepare import prepare
from emsa_jax.data.puppets import ConceptWorld, PuppetWorld, make_concept_puppets, make_puppets
from emsa_jax.data.records import read_manifest
from emsa_jax.manifest import write_atomic
from emsa_jax.policy.checkpoint import open_checkpoint
from emsa_jax.policy.policy_options import EMBEDDED
from emsa_jax.report.findings_table import findings_lines
from emsa_jax.rollout.prompts import Prompter
from emsa_jax.runtime.console import progress, say
from emsa_jax.runtime.run import Run
from emsa_jax.settings.config import Config
from emsa_jax.training.artifacts import policy_dir, puppet_dir, records_dir
from emsa_jax.training.input_checks import SplitOptions, check_kept, shared_clips
from emsa_jax.training.tiny_policy import TinySettings, make_tiny_policy


@dataclass(frozen=True, kw_only=True)
class PrepareSettings(TinySettings):
    """What the stage reads of a run's options."""

    prepare: PrepareOptions
    puppets: PuppetOptions
    mix: MixOptions
    stages: tuple[str, ...]
    evaluate: SplitOptions


def prepare_all(run: Run, settings: PrepareSettings) -> None:
    """Leaves records/<name> for each data set, overlaps.json of what the sets share, and policy/ where the policy is
    "tiny". What is finished is kept. Raises InputError for a split that a stage needs and that is empty."""
    sources = []
    for name, dataset in datasets(settings).items():
        sources.append(_source(run, settings, dataset))
        if is_prepared(sources[-1]):
            for line in read_manifest(sources[-1]).findings.get("said", ()):
                say(line)
        else:
            manifest = prepare(
                sources[-1],
                run.path("records", name),
                settings.prepare,
                *labels_of(dataset),
                _progress,
                dataset=reader_of(dataset),
                reading=settings.read,
            )
            say("\n".join(findings_lines(name, manifest)))
        check_kept(records_dir(run, settings, name), settings.stages, settings.evaluate.split, name)
    shared = shared_clips(settings, {name: records_dir(run, settings, name) for name in datasets(settings)})
    write_atomic(run.path("overlaps.json"), json.dumps(shared, ensure_ascii=False, indent=1).encode() + b"\n")
    for line in overlap_lines(shared):
        say(line)
    if settings.policy in EMBEDDED and not run.path("policy").exists():
        make_tiny_policy(run.path("policy"), settings, sources)


def prepare_records(config: Config) -> None:
    """Makes `config.out` of `config.data`. If config.policy is a policy's directory, the manifest also says how long
    its prompts are, and into which buckets they would go."""
    for line in describe(config.dataset) if config.dataset not in ("", "plain") else ():
        say(line)
    score_range, language = labels_of(config.train_set)
    token_length = None
    if config.policy not in EMBEDDED:
        checkpoint = open_checkpoint(policy_dir(None, config), weights=False)
        format = make_format(config.format, score_range, concepts=config.concepts)
        token_length = Prompter(checkpoint, format, config.prompt).length
    manifest = prepare(
        config.data,
        config.out,
        config.prepare,
        score_range,
        language,
        _progress,
        dataset=config.dataset,
        token_length=token_length,
        reading=config.read,
    )
    say("\n".join(findings_lines(config.out, manifest)))


def _source(run: Run, settings: PrepareSettings, dataset: Dataset) -> Path:
    """Where the raw clips of a data set lie; those of puppets are drawn if they do not exist yet."""
    if dataset.data not in PUPPETS:
        return Path(dataset.data)
    out = puppet_dir(run, dataset.data)
    if not out.exists():
        annotated = "concepts" in dataset.data
        kind, make = (ConceptWorld, make_concept_puppets) if annotated else (PuppetWorld, make_puppets)
        given = {"seed": settings.seed, "workers": settings.prepare.workers, **to_dict(settings.puppets)}
        options = kind(domain=PUPPETS[dataset.data].language, **given)
        total = options.num_train + options.num_valid + options.num_test
        with progress(total, f"drawing {dataset.data}") as advance:
            done = 0

            def report(now: int, _: int) -> None:
                nonlocal done
                advance(now - done)
                done = now

            make(out, options, report)
    return out


def _progress(items: list, total: int) -> Iterator:
    with progress(total, "prepare") as advance:
        for item in items:
            yield item
            advance()
