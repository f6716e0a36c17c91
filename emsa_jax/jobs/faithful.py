"""The faithfulness card of a policy: card.json and card.md, from a few hundred clips and their edits."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from emsa_jax.answers.claim_truth import true_signs
from emsa_jax.answers.formats import make_format
from emsa_jax.append_log import AppendLog, JsonLines, read_log
from emsa_jax.config.edge import digest, to_dict
from emsa_jax.data.records import read_manifest
from emsa_jax.data.views import modalities
from emsa_jax.errors import InputError
from emsa_jax.evaluation.faithfulness import Case, Line, card
from emsa_jax.evaluation.kept_answers import LoadedPolicy
from emsa_jax.evaluation.respondent import Edited, PolicyRespondent
from emsa_jax.manifest import write_together
from emsa_jax.policy import peft
from emsa_jax.policy.checkpoint import load_weights, open_checkpoint
from emsa_jax.policy.hf import read_checked_config
from emsa_jax.policy.layout import place
from emsa_jax.policy.trained_for import differences
from emsa_jax.rollout.prompted_data import Split, open_split
from emsa_jax.runtime.console import say
from emsa_jax.runtime.placement import Placement
from emsa_jax.settings.job_options import FaithfulOptions
from emsa_jax.training.artifacts import policy_fingerprint


def faithful(options: FaithfulOptions) -> None:
    """Asks the policy, and writes the card. What was asked before, by a start that was stopped, is not asked again."""
    for name in ("policy", "data"):
        if not getattr(options, name):
            raise InputError(f"config.{name}: name a directory, such as runs/mine/{_EXAMPLES[name]}")
    directory, records = Path(options.policy).expanduser(), Path(options.data).expanduser()
    adapter_dir = Path(options.adapter).expanduser() if options.adapter else None
    out = Path(options.out or directory.parent / "faithful").expanduser()
    manifest = read_manifest(records)
    format = make_format(options.format, manifest.score_range, options.labels.neutral_eps, options.concepts)
    if not format.has_reasoning or not format.score_ends():
        raise InputError(f"config.format: {options.format} answers name no score after a reasoning; dc ones do")
    asked = {"format": options.format, "score_range": tuple(manifest.score_range)}
    asked |= {name: getattr(options.prompt, name) for name in ("modalities", "audio_in_video", "capitals")}
    for line in differences((adapter_dir, directory), **asked):
        say(line)
    fingerprint = policy_fingerprint(directory, adapter_dir)
    policy, split = _load(options, directory, adapter_dir, records, fingerprint)
    cases = [_case(split, i, options) for i in range(len(split))]
    log = out / f"asked_{digest([fingerprint, manifest.digest, _asking(options)])[:16]}.jsonl"
    out.mkdir(parents=True, exist_ok=True)
    kept = {row["asked"]: row["answer"] for row in read_log(log, _LOG)} if log.exists() else {}
    if kept:
        say(f"{len(kept):,} answers are known from before")
    writer = AppendLog(log, _LOG)
    try:
        lines = card(
            cases,
            PolicyRespondent(
                split=split,
                policy=policy,
                batch_size=options.batch_size,
                slots=options.max_completion_length,
                kept=kept,
                keep=lambda new: _keep(writer, new),
            ),
            format,
            swapped=lambda case, partner, name: Edited(case.clip.place, ((name, partner.clip.place),)),
            without=lambda case, names: Edited(case.clip.place, removed=names),
            resamples=options.resamples,
        )
    finally:
        writer.close()
    content = {"policy": str(directory), "data": str(records), "clips": len(cases), "lines": list(map(asdict, lines))}
    text = _table(lines, len(cases))
    write_together(out, {"card.json": json.dumps(content, indent=1).encode() + b"\n", "card.md": text.encode()})
    print(text)
    say(f"the card: {out / 'card.md'}")


_EXAMPLES = {"policy": "export/merged", "data": "records/train"}
_LOG = JsonLines(" is damaged; remove the file, and all is asked again")


def _load(
    options: FaithfulOptions, directory: Path, adapter_dir: Path | None, records: Path, fingerprint: dict[str, str]
) -> tuple[LoadedPolicy, Split]:
    config = read_checked_config(directory)
    placement = Placement.of(config, mesh=options.mesh, dtype=options.dtype, trained=None)
    checkpoint = open_checkpoint(directory, weights=False)
    split = open_split(options, records, checkpoint, options.split, options.max_clips)
    base = load_weights(checkpoint, options.dtype, placement.decode).params
    adapter = peft.load_adapter(adapter_dir, config) if adapter_dir else None
    adapter = adapter and place(adapter, placement.decode.adapter(adapter))
    return LoadedPolicy(base=base, adapter=adapter, placement=placement, fingerprint=fingerprint), split


def _case(split: Split, i: int, options: FaithfulOptions) -> Case:
    entry = split.entries[i]
    return Case(
        clip=Edited(i),
        signs=true_signs(entry.concepts, options.labels.neutral_eps),
        shown=tuple(name for name in modalities(entry) if name in options.prompt.modalities),
        language=entry.language,
    )


def _asking(options: FaithfulOptions) -> dict:
    """What decides the answers, beside policy and data."""
    return {name: value for name, value in to_dict(options).items() if name not in ("out", "resamples", "batch_size")}


def _keep(writer: AppendLog, new: dict) -> None:
    writer.append(*({"asked": asked, "answer": answer} for asked, answer in new.items()))
    writer.sync()


def _table(lines: list[Line], clips: int) -> str:
    """The card as Markdown."""
    rows = [f"# Faithfulness of the explanations, {clips} clips\n", "| line | value | clips | what it means |"]
    rows.append("|---|---|---|---|")
    for line in lines:
        span = f" ({line.interval[0]:.3f} to {line.interval[1]:.3f})" if line.interval else ""
        value = "not known" if line.value is None else f"{line.value:.3f}{span}"
        rows.append(f"| {line.name} | {value} | {line.clips} | {line.means} |")
    return "\n".join(rows) + "\n"
