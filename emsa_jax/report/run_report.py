"""report.html of a run: gathered from what its stages left, so that it can be written at any time."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emsa_jax.answers.answer_format import Answer, AnswerFormat
from emsa_jax.answers.formats import make_format
from emsa_jax.answers.labels import polarity_of
from emsa_jax.data.mel import SAMPLE_RATE
from emsa_jax.data.records import RecordSource, read_index, read_manifest, unpack, unpack_pcm
from emsa_jax.errors import InputError
from emsa_jax.evaluation.reasoning import ignored_hints
from emsa_jax.jobs.evaluate import read_rows
from emsa_jax.manifest import write_atomic
from emsa_jax.parallel import processes
from emsa_jax.report.cases import choose_media, make_cases, media_of, numbered
from emsa_jax.report.run_content import Content, Result
from emsa_jax.report.run_page import run_page
from emsa_jax.runtime.run import Run
from emsa_jax.settings.config import Config
from emsa_jax.training.artifacts import PUPPETS, datasets, is_prepared, records_dir

PAGE = "report.html"
POLICIES = {"zero_shot": "zero-shot", "sft": "cold start", "grpo": "after RL"}
LIVE_SECONDS = 15
PUPPETS_SAID = "Puppets are a test bench: no number here compares with one from a paper."


def write_page(run: Run, config: Config, live: bool = False) -> Path:
    """Writes report.html into the workdir: without cases while the run is at work. Returns where it is."""
    found = results_of(run.workdir, config)
    rows = read_metrics(run.workdir)
    cases, media = ([], {}) if live else cases_of(run, config)
    content = Content(
        title=f"{config.data}: {Path(run.workdir).name}",
        lead=lead(found, rows),
        rows={run.workdir.name: rows},
        results=[Result(POLICIES.get(policy, policy), place(config, role), result) for policy, role, result in found],
        cases=cases,
        media=media,
        hints={} if live else {run.workdir.name: hints_ignored(run.workdir, config)},
        made=made(run.workdir),
        tiles=tiles(found, cases, rows),
        notes=[PUPPETS_SAID] if config.data in PUPPETS else [],
        live=LIVE_SECONDS if live else 0,
    )
    write_atomic(run.path(PAGE), run_page(content))
    return run.path(PAGE)


class LivePage:
    """report.html of a run at work, written anew not more often than `LIVE_SECONDS`."""

    def __init__(self, run: Run, config: Config) -> None:
        self._run, self._config, self._written = run, config, -float(LIVE_SECONDS)

    def refresh(self) -> None:
        """Writes the page if it is old enough, on process 0."""
        if processes.is_main() and time.monotonic() - self._written >= LIVE_SECONDS:
            write_page(self._run, self._config, live=True)
            self._written = time.monotonic()


def results_of(workdir: Path, config: Config) -> list[tuple[str, str, dict]]:
    """(policy, role, metrics.json) of all evaluations there are, the run's own policies in order, then others."""
    found = []
    for role in ("train", "cross"):
        names = [path.parent.parent.name for path in sorted(workdir.glob(f"evaluate/*/{role}/metrics.json"))]
        for name in sorted(names, key=lambda n: (list(POLICIES).index(n) if n in POLICIES else len(POLICIES), n)):
            found.append((name, role, _result(workdir / "evaluate" / name / role / "metrics.json")))
    return found


def _result(path: Path) -> dict:
    found = read_json(path)
    metrics = found.get("metrics") if isinstance(found, dict) else ()
    if metrics == () or metrics is not None and "Polarity_acc" not in metrics:
        raise InputError(f"{path} is damaged; remove it and evaluate or score again")
    return found


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; a line that is being written is passed over. Raises InputError for a damaged one."""
    path = workdir / "metrics.jsonl"
    try:
        data = path.read_text(encoding="utf-8") if path.exists() else ""
        return [json.loads(line) for line in data[: data.rfind("\n") + 1].splitlines()]
    except ValueError as error:
        raise InputError(f"{path} is damaged; restore it, or remove it and lose the curves") from error


def place(config: Config, role: str) -> str:
    """How a page calls a data set of a run."""
    dataset = datasets(config).get(role)
    named = dataset.data if dataset else role
    return f"{Path(named).name or named} ({'in domain' if role == 'train' else 'other domain'})"


def lead(found: Sequence[tuple[str, str, dict]], rows: Sequence[Mapping]) -> str:
    """The one sentence that a reader in a hurry needs."""
    scored = {name: result for name, role, result in found if role == "train" and result.get("metrics")}
    own = [name for name in POLICIES if name in scored]
    if not own:
        at = rows[-1] if rows else None
        named = {"sft": "The cold start", "grpo": "GRPO"}
        where = f"{named.get(at['stage'], at['stage'])} is at step {at['step']}; n" if at else "N"
        return f"{where}othing is evaluated yet."
    last = scored[own[-1]]
    m, interval = last["metrics"], (last.get("intervals") or {}).get("Polarity_acc")
    name = POLICIES[own[-1]]
    text = f"{name[0].upper()}{name[1:]}, the polarity is right on {m['Polarity_acc']:.1%} of {m['n']:,} clips"
    text += f" (95% interval {interval[0]:.1%} to {interval[1]:.1%})" if interval else ""
    others = [f"{POLICIES[name]} {scored[name]['metrics']['Polarity_acc']:.1%}" for name in own[:-1]]
    floor = (last.get("floor") or {}).get("Polarity_acc")
    others += [f"always the mean of the training scores {floor:.1%}"] if floor is not None else []
    return text + (f"; {', '.join(others)}." if others else ".")


def tiles(
    found: Sequence[tuple[str, str, dict]], cases: Sequence[Mapping], rows: Sequence[Mapping]
) -> list[tuple[str, str, str]]:
    """(name, value, note) of the numbers that come first: in domain, after the last stage, beside the one before."""
    own = [
        (name, result) for name, role, result in found if role == "train" and name in POLICIES and result.get("metrics")
    ]
    shown = []
    for title, read, form in (
        ("Polarity accuracy", lambda r: r["metrics"]["Polarity_acc"], "{:.1%}"),
        ("MAE", lambda r: r["metrics"]["MAE"], "{:.3f}"),
        ("Reward, sampled", lambda r: r.get("mean_sampled_reward"), "{:.3f}"),
    ):
        values = [(name, read(result)) for name, result in own if read(result) is not None]
        if values:
            before = [f"{POLICIES[name]} {form.format(value)}" for name, value in values[:-1]]
            shown.append((title, form.format(values[-1][1]), ", ".join(before) or POLICIES[values[-1][0]]))
    first = cases[0]["data"] if cases else ""
    hard = [case for case in cases if "hard" in case["kinds"] and case["data"] == first]
    if hard and len(own) > 1:
        rescued = sum("rescued" in case["kinds"] for case in hard)
        note = "hard: every sampled answer failed before RL"
        shown.append(("Hard clips put right", f"{rescued} of {len(hard)}", note))
    steps = [row for row in rows if row.get("stage") == "grpo"]
    if steps:
        spent = sum((row.get("step_time") or 0) + (row.get("data_time") or 0) for row in steps)
        shown.append(("GRPO", f"{len(steps)} steps", f"{spent / 60:.1f} minutes"))
    return shown


def cases_of(run: Run, config: Config, most: int = 200) -> tuple[list[dict], dict[int, dict]]:
    """(numbered cases, number -> media of some of them)."""
    cases, places = [], {}
    for role in datasets(config):
        answered = {
            POLICIES[name]: read_rows(path)
            for name in POLICIES
            if (path := run.path("evaluate", name, role, "predictions.jsonl")).exists()
        }
        others = [
            path
            for path in sorted(run.workdir.glob(f"evaluate/*/{role}/predictions.jsonl"))
            if path.parent.parent.name not in POLICIES
        ]
        if not answered:
            continue
        own = list(answered)
        for path in others:
            answered[path.parent.parent.name] = read_rows(path)
        answered = {name: rows for name, rows in answered.items() if name != "zero-shot" or len(own) == 1}
        own = [name for name in own if name in answered]
        manifest = read_manifest(records_dir(run, config, role))
        language = manifest.languages[0] if len(manifest.languages) == 1 else ""
        cases += make_cases(place(config, role), answered, own[0], own[-1], language)
        places[place(config, role)] = records_dir(run, config, role)
    chosen = choose_media(cases, most)
    media = {}
    for name, directory in places.items():
        ids = {id for data, id in chosen if data == name}
        index = {entry.id: i for i, entry in enumerate(read_index(directory, config.evaluate.split)) if entry.id in ids}
        source = RecordSource(directory, config.evaluate.split)
        for id, i in index.items():
            record = source[i]
            clip = unpack(record)
            media[name, id] = media_of(clip.frames, unpack_pcm(record), SAMPLE_RATE)
    cases = numbered(cases, media)
    return cases, {case["n"]: media[key] for case in cases if (key := (case["data"], case["id"])) in media}


def hints_ignored(workdir: Path, config: Config) -> float | None:
    """Of the hinted answers that were written out while learning, the share that denies the hint."""
    records = workdir / "records" / "train"
    directory = records if is_prepared(records) else Path(config.data)
    if not is_prepared(directory):
        return None
    format = make_format(
        config.format, read_manifest(directory).score_range, config.labels.neutral_eps, config.concepts
    )
    return ignored_hints(_hinted(workdir, format, config.labels.neutral_eps), config.labels.neutral_eps)


def _hinted(workdir: Path, format: AnswerFormat, neutral_eps: float) -> list[tuple[Answer, str]]:
    found = []
    for path in sorted((workdir / "grpo" / "completions").glob("*.jsonl")):
        for row in read_rows(path):
            given = None if row["target"] is None else polarity_of(row["target"], neutral_eps)
            own = set(row.get("completions", ()))  # with hint.replace=k the others are as they were
            found += [(format.parse(text), given) for text in row.get("hinted_completions", ()) if text not in own]
    return found


def made(workdir: Path) -> list[tuple[str, list[tuple[str, str]]]]:
    """(caption, (name, value) pairs) of what was asked and with which software."""
    config, versions = (read_json(workdir / name) for name in ("config.json", "versions.json"))
    if not all(isinstance(one, dict) for one in versions or []):
        raise InputError(f"{workdir / 'versions.json'} is damaged; restore it or remove it")
    groups = [
        (
            "What was asked",
            [
                (name, _said(value))
                for name, value in (config or {}).items()
                if not isinstance(value, dict) and value not in ("", [], None)
            ],
        )
    ]
    for name, value in (config or {}).items():
        if isinstance(value, dict):
            groups.append((name, [(key, _said(inner)) for key, inner in value.items()]))
    groups += [
        (f"Software and machine{', later' if i else ''}", [(name, _said(value)) for name, value in one.items()])
        for i, one in enumerate(versions or [])
    ]
    return groups


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def read_json(path: Path) -> Any:
    """A JSON file, None if there is none. Raises InputError for a damaged one."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged; restore it or remove it") from error
