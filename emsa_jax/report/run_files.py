"""What a run has left in its work directory, read for its page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from emsa_jax.answers.answer_format import Answer, AnswerFormat
from emsa_jax.answers.answer_options import ConceptOptions, LabelOptions
from emsa_jax.answers.formats import make_format
from emsa_jax.answers.labels import polarity_of
from emsa_jax.data.datasets import DataSettings, datasets, is_prepared
from emsa_jax.data.records import read_manifest
from emsa_jax.errors import InputError
from emsa_jax.evaluation.reasoning import ignored_hints
from emsa_jax.json_file import misfit, read_json_rows, read_saved_json
from emsa_jax.report.result_table import POLICIES
from emsa_jax.runtime.metric_log import is_row
from emsa_jax.training.artifacts import PolicySettings, stage_summary

LEARNING = ("align", "sft", "grpo")  # stages that say what has become of them

_COMPLETIONS = {"target": (float, None), "completions": ([str], None), "hinted_completions": ([str], None)}
_NAMES = ("family", "fallback")  # of a result's metrics, those that are no numbers
_RESULT = {  # what a result holds, in the terms of `json_file.misfit`
    "clips": int,
    "metrics": (None, {str: (float, None, bool, str)}),
    "floor": (None, {str: (float, None, bool, str)}),
    "intervals": (None, {str: (None, [float, float])}),
    "rewards": (None, {str: (float, None)}),
    **dict.fromkeys(("reasoning", "claims", "labels", "controls", "breakdowns", "judged"), (None, {str: object})),
}
CARD = Path("export", "faithful", "card.json")


class SplitOptions(Protocol):
    """The options of evaluation that are read here. split: which clips were evaluated."""

    split: str


@dataclass(frozen=True, kw_only=True)
class ReportSettings(DataSettings, PolicySettings):
    """What the report reads of a run's options."""

    format: str
    concepts: ConceptOptions
    labels: LabelOptions
    evaluate: SplitOptions


def results_of(workdir: Path) -> list[tuple[str, str, dict]]:
    """(policy, role, metrics.json) of all evaluations, the policies of the run in their order, then others."""
    found = []
    for role in ("train", "cross"):
        names = [path.parent.parent.name for path in sorted(workdir.glob(f"evaluate/*/{role}/metrics.json"))]
        for name in sorted(names, key=lambda n: (list(POLICIES).index(n) if n in POLICIES else len(POLICIES), n)):
            found.append((name, role, read_result(workdir, name, role)))
    return found


def read_result(workdir: Path, policy: str, role: str) -> dict | None:
    """The metrics.json of a policy on a data set; None where there is none. Raises InputError for a damaged one."""
    path = workdir / "evaluate" / policy / role / "metrics.json"
    if not path.exists():
        return None
    advice = "remove it and evaluate or score again"
    found = read_saved_json(path, advice, {str: object})
    wrong = next(filter(None, (misfit(found[name], kind, name) for name, kind in _RESULT.items() if name in found)), "")
    metrics = found.get("metrics")
    numbers = {} if wrong or metrics is None else {n: v for n, v in metrics.items() if n not in _NAMES}
    wrong = wrong or misfit(numbers, {str: (float, None, bool)}, "metrics")
    if wrong or metrics is not None and "Polarity_acc" not in metrics:
        raise InputError(f"{path} is damaged ({wrong or 'it lacks numbers'}); {advice}")
    return found


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; a line that is being written is passed over. Raises InputError for a damaged one."""
    path = workdir / "metrics.jsonl"
    try:
        data = path.read_text(encoding="utf-8") if path.exists() else ""
        rows = [json.loads(line) for line in data[: data.rfind("\n") + 1].splitlines()]
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged; restore it, or remove it and lose the curves") from error
    if not all(map(is_row, rows)):
        raise InputError(f"{path} is damaged; restore it, or remove it and lose the curves")
    return rows


def statuses(workdir: Path) -> dict[str, str]:
    """Stage that learned -> what has become of it, as its summary.json says."""
    found = {stage: stage_summary(workdir, stage) for stage in LEARNING}
    return {stage: str(summary.get("status", "")) for stage, summary in found.items() if summary}


def warnings_of(workdir: Path) -> list[str]:
    """What the stages that learn were warned of, in order."""
    lines = []
    for stage in LEARNING:
        summary = stage_summary(workdir, stage)
        lines += [str(line) for line in summary.get("warnings", ())]
        if count := summary.get("bad_updates"):
            lines.append(f"{stage}: {count} updates were not taken, since their numbers were not finite")
    return lines


def data_name(settings: ReportSettings, role: str) -> str:
    """The name of a data set on the page of a run."""
    dataset = datasets(settings).get(role)
    named = dataset.data if dataset else role
    return f"{Path(named).name or named} ({'in domain' if role == 'train' else 'other domain'})"


def hints_ignored(workdir: Path, settings: ReportSettings) -> float | None:
    """Of the hinted answers that were written out while learning, the share that denies the hint."""
    records = workdir / "records" / "train"
    directory = records if is_prepared(records) else Path(settings.data)
    if not is_prepared(directory):
        return None
    format = make_format(
        settings.format, read_manifest(directory).score_range, settings.labels.neutral_eps, settings.concepts
    )
    return ignored_hints(_hinted(workdir, format, settings.labels.neutral_eps), settings.labels.neutral_eps)


def read_card(workdir: Path) -> list[dict[str, Any]]:
    """The lines of the faithfulness card of what the run exported, [] without one. Raises InputError for a damaged
    one."""
    path = workdir / CARD
    if not path.exists():
        return []
    found = read_saved_json(path)
    lines = found.get("lines") if isinstance(found, dict) else None
    named = isinstance(lines, list) and all(isinstance(one, dict) and isinstance(one.get("name"), str) for one in lines)
    if not named:
        raise InputError(f"{path} is damaged; remove it, or make the card again")
    return lines


def _hinted(workdir: Path, format: AnswerFormat, neutral_eps: float) -> list[tuple[Answer, str]]:
    found = []
    for path in sorted((workdir / "grpo" / "completions").glob("*.jsonl")):
        for row in read_json_rows(path):
            told = {name: row.get(name) for name in _COMPLETIONS}
            if wrong := misfit(told, _COMPLETIONS, "") or ("target" not in row) * "target is missing":
                raise InputError(f"{path} is damaged ({wrong}); restore it or remove it")
            given = None if row["target"] is None else polarity_of(row["target"], neutral_eps)
            plain = set(told["completions"] or ())  # with hint.replace=k, the answers that were not replaced
            found += [(format.parse(text), given) for text in told["hinted_completions"] or () if text not in plain]
    return found


def made(workdir: Path) -> list[tuple[str, list[tuple[str, str]]]]:
    """(caption, (name, value) pairs) of what was asked and with which software."""
    kinds = {"config.json": {str: object}, "versions.json": [{str: object}]}
    config, versions = (read_saved_json(workdir / name, kind=kind) for name, kind in kinds.items())
    groups = [
        (
            "What was asked",
            [
                (name, _text(value))
                for name, value in (config or {}).items()
                if not isinstance(value, dict) and value not in ("", [], None)
            ],
        )
    ]
    for name, value in (config or {}).items():
        if isinstance(value, dict):
            groups.append((name, [(key, _text(inner)) for key, inner in value.items()]))
    groups += [
        (f"Software and machine{', later' if i else ''}", [(name, _text(value)) for name, value in one.items()])
        for i, one in enumerate(versions or [])
    ]
    return groups


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
