"""Evaluation: every policy of the run on every data set, from the answers that prediction left."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from emsa_jax.answers.answer_format import AnswerFormat
from emsa_jax.config.edge import digest, to_dict
from emsa_jax.data.records import read_index, read_manifest
from emsa_jax.errors import InputError
from emsa_jax.evaluation.breakdowns import hardness
from emsa_jax.evaluation.classes import summarize_classes
from emsa_jax.evaluation.journal import Answered
from emsa_jax.evaluation.kept_answers import answers_of
from emsa_jax.evaluation.paired import judged_as
from emsa_jax.evaluation.predictions import prediction_rows, summarize
from emsa_jax.manifest import write_together
from emsa_jax.parallel import processes
from emsa_jax.planning.memory import AnswerWork, answer_memory
from emsa_jax.planning.memory_advice import announce, answer_advice
from emsa_jax.policy import peft
from emsa_jax.policy.checkpoint import Checkpoint, adapter_fingerprint, fingerprint, load_weights, open_checkpoint
from emsa_jax.policy.hf import read_checked_config
from emsa_jax.policy.layout import place
from emsa_jax.policy.lora import Adapter
from emsa_jax.rewards.score_answers import AnswerScorer, RewardTable
from emsa_jax.rewards.trigger import threshold
from emsa_jax.rollout.prompted_data import Split, open_split
from emsa_jax.rollout.rollout_options import HintOptions
from emsa_jax.runtime.placement import Placement
from emsa_jax.runtime.run import Run
from emsa_jax.settings.config import Config
from emsa_jax.training.artifacts import datasets, policies, records_dir, taught_by


def evaluate(run: Run, config: Config) -> None:
    """evaluate/<policy>/<data set>/{predictions.jsonl, metrics.json} for each pair; finished ones are kept."""
    for name, (directory, adapter_dir) in policies(run, config).items():
        opened = loaded = None
        policy_print = processes.broadcast(
            lambda d=directory, a=adapter_dir: {"policy": fingerprint(d), "adapter": adapter_fingerprint(a)},
            "which policy is evaluated",
        )
        for role in datasets(config):
            manifest, taught = read_manifest(records_dir(run, config, role)), taught_by(run, config, role)
            inputs = digest(
                [
                    to_dict(config.evaluate),
                    to_dict(config.sampling),
                    to_dict(config.reward),
                    to_dict(config.prompt),
                    config.format,
                    to_dict(config.concepts),
                    config.dtype,
                    config.seed,
                    manifest.digest,
                    taught and taught.digest,
                    *policy_print.values(),
                    to_dict(config.hint.threshold),
                ]
            )
            if run.stage_done(f"evaluate {name} {role}", inputs):
                continue
            if opened is None:
                placement = Placement.of(
                    read_checked_config(directory), mesh=config.mesh, dtype=config.dtype, trained=None
                )
                placement.sharding.check(config.evaluate.batch_size, "evaluate.batch_size")
                opened = open_checkpoint(directory, weights=False, attention=config.attention)
            split = open_split(
                config,
                records_dir(run, config, role),
                opened,
                config.evaluate.split,
                config.evaluate.max_clips,
                taught=taught,
            )
            loaded = loaded or _loaded(config, opened, adapter_dir, placement, split)
            answers = answers_of(run, config, split, *loaded, placement, policy_print, f"{name} on {role}")
            out = run.path("evaluate", name, role)
            result, rows = measured(run, config, role, split, answers)
            write_result(out, result, rows)
            run.mark_done(f"evaluate {name} {role}", inputs, [out])


def _loaded(
    config: Config, opened: Checkpoint, adapter_dir: Path | None, placement: Placement, split: Split
) -> tuple[dict, Adapter | None]:
    """(base, adapter) as they decode, after a word on the memory that answering the split takes."""
    shapes = split.input_shapes(config.evaluate.batch_size // placement.sharding.num_shards)
    work = AnswerWork(
        dtype=config.dtype,
        adapter=config.lora if adapter_dir else None,
        batch_size=config.evaluate.batch_size,
        answers=max(1, config.evaluate.samples),
        answer_slots=config.sampling.max_completion_length,
    )
    memory = answer_memory(work, opened.config, placement, shapes[max(shapes)])
    announce(memory, answer_advice(memory, work, placement))
    base = load_weights(opened, config.dtype, placement.decode).params
    adapter = peft.load_adapter(adapter_dir, opened.config) if adapter_dir else None
    return base, adapter and place(adapter, placement.decode.adapter(adapter))


def measured(
    run: Run, config: Config, role: str, split: Split, answers: dict[str, list[Answered]]
) -> tuple[dict, list[dict]]:
    """(metrics, one row a clip) of a policy's answers to a data set."""
    options, records, format = config.evaluate, records_dir(run, config, role), split.prompter.format
    score_answers = AnswerScorer.of(format, config.reward, read_index(records_dir(run, config, "train"), "train"))
    tables: dict[str, RewardTable] = {}
    for kind, given in answers.items():
        texts, ended = [one.texts for one in given], np.array([one.ended for one in given])
        tables[kind] = score_answers(split.entries, texts, ended)
    kind = "greedy" if options.decode == "greedy" else "sampled"
    shown = [name for name in ("text", "audio", "video") if getattr(config.prompt, name)]
    rows = prediction_rows(
        split.entries,
        [one.texts for one in answers[kind]],
        tables["greedy"],
        tables.get("sampled"),
        options.decode,
        config.labels.neutral_eps,
        shown,
        format,
    )
    _grade(run, config, role, format, rows)
    learned = [entry for entry in read_index(records, "train") if entry.score is not None]
    result = summarize(
        rows,
        split.manifest.score_range,
        options.fallback,
        config.labels.neutral_eps,
        [entry.score for entry in learned],
        0 if format.classes else options.resamples,
    )
    if format.classes:
        result = summarize_classes(result, rows, format, learned, options.resamples)
    known = [row for row in rows if row["target"] is not None and "sampled_rewards" in row]
    rewards = [reward for row in known for reward in row["sampled_rewards"]]
    result |= {
        "decode": options.decode,
        "mean_sampled_reward": float(np.mean(rewards)) if rewards else None,
        "judged": judged_as(
            rows,
            split.manifest.score_range,
            config.labels.neutral_eps,
            options.fallback,
            format.classes,
        ),
    }
    return result, rows


def _grade(run: Run, config: Config, role: str, format: AnswerFormat, rows: list[dict]) -> None:
    """Notes how hard each clip is, by what the cold start's sampled answers earned; without one, the policy's own."""
    limit = threshold(
        HintOptions(threshold=config.hint.threshold if config.hint.metric == "total" else "auto"),
        config.reward,
        format.label_part,
    )
    started = run.path("evaluate", "sft", role, "predictions.jsonl")
    judges = {row["id"]: row for row in read_rows(started)} if started.exists() else {row["id"]: row for row in rows}
    for row in rows:
        rewards = judges.get(row["id"], {}).get("sampled_rewards")
        if rewards and row["target"] is not None:
            row["about"]["hardness"] = hardness(rewards, limit)


def write_result(out: Path, result: dict, rows: list[dict]) -> None:
    """Leaves both files in a directory, from process 0."""
    if not processes.is_main():
        return
    out.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_together(
        out,
        {
            "predictions.jsonl": lines.encode("utf-8", "surrogatepass"),
            "metrics.json": json.dumps(result, indent=1).encode() + b"\n",
        },
    )


def read_rows(path: Path) -> list[dict]:
    """The rows of a file of predictions, or of another with an object a line. Raises InputError for a damaged one."""
    try:
        lines = path.read_bytes().decode("utf-8", "surrogatepass").split("\n")
        rows = [json.loads(line) for line in lines if line]
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is missing or damaged; make it anew, or restore it") from error
    if not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path} is damaged: not all of its lines are objects; make it anew, or restore it")
    return rows
