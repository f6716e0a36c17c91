"""Evaluation: every policy of the run on every data set, greedy for the metrics and sampled for the mean reward."""
from __future__ import annotations

import json

import numpy as np

from emsa_jax.answers.formats import CLASS_FORMATS
from emsa_jax.config import digest, to_dict
from emsa_jax.data.records import read_index, read_manifest
from emsa_jax.evaluation.classes import summarize_classes
from emsa_jax.evaluation.predict import compile_answers, predict, prediction_rows, summarize
from emsa_jax.jobs.artifacts import datasets, policies, records_dir, taught_by
from emsa_jax.jobs.console import progress
from emsa_jax.jobs.datasets import open_split
from emsa_jax.jobs.judging import judge_of
from emsa_jax.jobs.options import Config
from emsa_jax.jobs.programs import Programs
from emsa_jax.jobs.run import Run
from emsa_jax.manifest import write_atomic
from emsa_jax.policy import peft
from emsa_jax.policy.checkpoint import adapter_print, fingerprint, open_checkpoint
from emsa_jax.rollout.draw import SamplingOptions


def evaluate(run: Run, config: Config) -> None:
    """evaluate/<policy>/<data set>/{predictions.jsonl, metrics.json} for each pair; finished ones are kept."""
    for name, (directory, adapter_dir) in policies(run, config).items():
        checkpoint = None
        for role in datasets(config):
            manifest, taught = read_manifest(records_dir(run, config, role)), taught_by(run, config, role)
            inputs = digest([to_dict(config.evaluate), to_dict(config.sampling), to_dict(config.reward),
                             to_dict(config.prompt), config.format, to_dict(config.concepts), config.dtype,
                             config.seed, manifest.digest, taught and taught.digest,
                             fingerprint(directory), adapter_print(adapter_dir)])
            if run.stage_done(f"evaluate {name} {role}", inputs):
                continue
            if checkpoint is None:
                checkpoint = open_checkpoint(directory, config.dtype, attention=config.attention)
                adapter = peft.load_adapter(adapter_dir, checkpoint.config) if adapter_dir else None
            out = run.path("evaluate", name, role)
            out.mkdir(parents=True, exist_ok=True)
            result, rows = evaluate_one(run, config, role, checkpoint, adapter, f"{name} on {role}")
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            write_atomic(out / "predictions.jsonl", lines.encode())
            write_atomic(out / "metrics.json", json.dumps(result, indent=1).encode() + b"\n")
            run.mark_done(f"evaluate {name} {role}", inputs, [out])


def evaluate_one(run: Run, config: Config, role: str, checkpoint, adapter, label: str) -> tuple[dict, list[dict]]:
    """(metrics, one row a clip) of a policy on a data set."""
    options = config.evaluate
    records = records_dir(run, config, role)
    split = open_split(config, records, checkpoint, options.split, options.max_clips,
                       taught=taught_by(run, config, role))
    greedy = SamplingOptions(greedy=True, max_completion_length=config.sampling.max_completion_length)
    kinds = {"greedy": (greedy, 1)} | ({"sampled": (config.sampling, options.samples)} if options.samples else {})
    programs = Programs()
    for kind, (sampling, group_size) in kinds.items():
        compile_answers(programs, kind, checkpoint.params, adapter, checkpoint, split.prompter,
                        split.budgets(options.batch_size), options.batch_size, sampling, group_size)
    judging = judge_of(config, split.prompter.format, read_index(records_dir(run, config, "train"), "train"))
    rows: list[dict | None] = [None] * len(split)
    sampled: list[np.ndarray] = []
    with progress(len(split) * len(kinds), f"evaluating {label}") as advance:
        for kind in kinds:
            def ask(bucket, *arguments, kind=kind):
                return programs[f"{kind}/{bucket}"](checkpoint.params, adapter, *arguments)

            for indices, texts, ended in predict(split, ask, options.batch_size, config.seed):
                table = judging([split.entries[i] for i in indices], texts, ended)
                if kind == "greedy":
                    for i, row in zip(indices, prediction_rows(split, indices, texts, table, config.labels.neutral_eps),
                                      strict=True):
                        rows[i] = row
                else:
                    known = [split.entries[i].score is not None for i in indices]
                    sampled.append(table.total[known])
                advance(len(indices))
    learned = [entry for entry in read_index(records, "train") if entry.score is not None]
    if config.format in CLASS_FORMATS:
        result = summarize_classes(rows, split.prompter.format, learned)
    else:
        result = summarize(rows, split.manifest.score_range, options.fallback, config.labels.neutral_eps,
                           [entry.score for entry in learned])
    totals = np.concatenate(sampled) if sampled else np.zeros(0)
    result["mean_sampled_reward"] = float(totals.mean()) if totals.size else None
    return result, rows
