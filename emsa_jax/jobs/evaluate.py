"""Evaluation: every policy of the run on every data set, greedy for the metrics and sampled for the mean reward."""
from __future__ import annotations

import functools
import json

import numpy as np

from emsa_jax.config import digest, to_dict
from emsa_jax.data.records import read_index, read_manifest
from emsa_jax.evaluation.predict import compile_answers, judge, predict, prediction_rows, summarize
from emsa_jax.jobs.artifacts import datasets, policies, records_dir, taught_by
from emsa_jax.jobs.console import progress
from emsa_jax.jobs.datasets import open_split
from emsa_jax.jobs.options import Config
from emsa_jax.jobs.placement import Placement
from emsa_jax.jobs.programs import Programs
from emsa_jax.jobs.run import Run
from emsa_jax.parallel import peers
from emsa_jax.policy import peft
from emsa_jax.policy.checkpoint import adapter_print, fingerprint, open_checkpoint
from emsa_jax.policy.hf import read_checked_config
from emsa_jax.policy.layout import place
from emsa_jax.rewards.plugins import load_plugins
from emsa_jax.rollout.draw import SamplingOptions


def evaluate(run: Run, config: Config) -> None:
    """evaluate/<policy>/<data set>/{predictions.jsonl, metrics.json} for each pair; finished ones are kept."""
    for name, (directory, adapter_dir) in policies(run, config).items():
        asked = None
        for role in datasets(config):
            manifest, taught = read_manifest(records_dir(run, config, role)), taught_by(run, config, role)
            inputs = peers.told(lambda m=manifest, t=taught, d=directory, a=adapter_dir: digest(
                [to_dict(config.evaluate), to_dict(config.sampling), to_dict(config.reward), to_dict(config.prompt),
                 config.format, config.dtype, config.seed, m.digest, t and t.digest, fingerprint(d),
                 adapter_print(a)]), "what is evaluated")
            if run.stage_done(f"evaluate {name} {role}", inputs):
                continue
            if asked is None:
                placement = Placement.of(config, read_checked_config(directory), trained="")
                placement.share.check(config.evaluate.batch_size, "evaluate.batch_size")
                checkpoint = open_checkpoint(directory, config.dtype, attention=config.attention,
                                             layout=placement.decode)
                adapter = peft.load_adapter(adapter_dir, checkpoint.config) if adapter_dir else None
                adapter = adapter and place(adapter, placement.decode.adapter(adapter))
                asked = (checkpoint, adapter, placement)
            result, rows = evaluate_one(run, config, role, *asked, f"{name} on {role}")
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            run.write(f"evaluate/{name}/{role}/predictions.jsonl", lines.encode())
            run.write(f"evaluate/{name}/{role}/metrics.json", json.dumps(result, indent=1).encode() + b"\n")
            run.mark_done(f"evaluate {name} {role}", inputs, [run.path("evaluate", name, role)])


def evaluate_one(run: Run, config: Config, role: str, checkpoint, adapter, placement: Placement, label: str
                 ) -> tuple[dict, list[dict]]:
    """(metrics, one row a clip) of a policy on a data set, on every process."""
    options, share = config.evaluate, placement.share
    records = records_dir(run, config, role)
    split = open_split(config, records, checkpoint, options.split, options.max_clips,
                       taught=taught_by(run, config, role))
    greedy = SamplingOptions(greedy=True, max_completion_length=config.sampling.max_completion_length)
    kinds = {"greedy": (greedy, 1)} | ({"sampled": (config.sampling, options.samples)} if options.samples else {})
    programs = Programs(placement.decode)
    inputs = {bucket: placement.inputs(budget, options.batch_size)
              for bucket, budget in split.budgets(options.batch_size // share.shards).items()}
    for kind, (sampling, group_size) in kinds.items():
        compile_answers(programs, kind, checkpoint.params, adapter, checkpoint, inputs, sampling, group_size)
    judging = functools.partial(judge, split.prompter.format, options=config.reward,
                                plugins=load_plugins(config.reward.plugins), neutral_eps=config.labels.neutral_eps)
    rows: list[dict | None] = [None] * len(split)
    found, sampled = [], []  # this process's part
    with progress(len(split) * len(kinds), f"evaluating {label}") as advance:
        for kind in kinds:
            def ask(bucket, *arguments, kind=kind):
                return programs[f"{kind}/{bucket}"](checkpoint.params, adapter, *arguments)

            for indices, texts, ended in predict(split, ask, options.batch_size, config.seed, share):
                table = judging([split.entries[i] for i in indices], texts, ended)
                if kind == "greedy":
                    found += zip(indices, prediction_rows(split, indices, texts, table, config.labels.neutral_eps),
                                 strict=True)
                else:
                    known = [split.entries[i].score is not None for i in indices]
                    sampled.append(table.total[known])
                advance(len(indices) * share.groups)
    parts = share.gather({"rows": np.frombuffer("".join(json.dumps(pair) + "\n" for pair in found).encode(), np.uint8),
                          "sampled": np.concatenate(sampled) if sampled else np.zeros(0)}, "predictions")
    for line in parts["rows"].tobytes().decode().splitlines():
        i, rows[i] = json.loads(line)
    train_scores = [entry.score for entry in read_index(records, "train") if entry.score is not None]
    result = summarize(rows, split.manifest.score_range, options.fallback, config.labels.neutral_eps, train_scores)
    totals = parts["sampled"]
    result["mean_sampled_reward"] = float(totals.mean()) if totals.size else None
    return result, rows
