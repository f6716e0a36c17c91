"""report.html of a run: gathered from what its stages left, so that it can be written at any time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from emsa_jax.data.datasets import PUPPETS, PUPPETS_NOTE, datasets
from emsa_jax.data.mel import SAMPLE_RATE
from emsa_jax.data.records import RecordSource, read_index, read_manifest, unpack, unpack_pcm
from emsa_jax.evaluation.result_files import read_predictions
from emsa_jax.manifest import write_atomic
from emsa_jax.report.cases import choose_media, make_cases, media_of, numbered
from emsa_jax.report.result_table import POLICIES, read_of, shown_names, unread
from emsa_jax.report.run_content import Content, Result
from emsa_jax.report.run_files import (
    ReportSettings,
    data_name,
    hints_ignored,
    made,
    read_card,
    read_metrics,
    results_of,
    statuses,
    warnings_of,
)
from emsa_jax.report.run_page import run_page
from emsa_jax.runtime.run import Run
from emsa_jax.training.artifacts import records_dir
from emsa_jax.training.loop import PAGE_SECONDS

PAGE = "report.html"


def write_page(run: Run, settings: ReportSettings, live: bool = False) -> Path:
    """Writes report.html into the work directory, and returns its path. live: the run is still at work, and the page
    has no cases yet."""
    found = results_of(run.workdir)
    names = shown_names([policy for policy, _, _ in found], states := statuses(run.workdir))
    rows = read_metrics(run.workdir)
    cases, media = ([], {}) if live else cases_of(run, settings)
    content = Content(
        title=f"{settings.data}: {Path(run.workdir).name}",
        lead=lead(found, rows, states),
        rows={run.workdir.name: rows},
        results=[Result(names[policy], data_name(settings, role), result) for policy, role, result in found],
        cases=cases,
        media=media,
        hints={} if live else {run.workdir.name: hints_ignored(run.workdir, settings)},
        cards={run.workdir.name: card} if (card := read_card(run.workdir)) else {},
        made=made(run.workdir),
        tiles=tiles(found, cases, rows, states),
        warnings=warnings_of(run.workdir),
        notes=[PUPPETS_NOTE] if settings.data in PUPPETS else [],
        live=PAGE_SECONDS if live else 0,
    )
    write_atomic(run.path(PAGE), run_page(content))
    return run.path(PAGE)


def lead(found: Sequence[tuple[str, str, dict]], rows: Sequence[Mapping], states: Mapping[str, str]) -> str:
    """The one sentence that a reader in a hurry needs. states: stage -> what has become of it."""
    scored = {name: result for name, role, result in found if role == "train" and result.get("metrics")}
    evaluated = [name for name in POLICIES if name in scored]
    if not evaluated:
        at = rows[-1] if rows else None
        named = {"sft": "The cold start", "grpo": "GRPO"}
        where = f"{named.get(at['stage'], at['stage'])} is at step {at['step']}; n" if at else "N"
        return f"{where}othing is evaluated yet."
    last, names = scored[evaluated[-1]], shown_names(evaluated, states)
    m, interval = last["metrics"], (last.get("intervals") or {}).get("Polarity_acc")
    name = names[evaluated[-1]]
    if nothing := unread(last, polarity=True):
        return f"{name[0].upper()}{name[1:]}, no answer can be judged: {nothing}."
    text = f"{name[0].upper()}{name[1:]}, the polarity is right on {m['Polarity_acc']:.1%} of {m['n']:,} clips"
    text += f" (95% interval {interval[0]:.1%} to {interval[1]:.1%})" if interval else ""
    others = [f"{names[name]} {scored[name]['metrics']['Polarity_acc']:.1%}" for name in evaluated[:-1]]
    floor = (last.get("floor") or {}).get("Polarity_acc")
    others += [f"always the mean of the training scores {floor:.1%}"] if floor is not None else []
    return text + (f"; {', '.join(others)}." if others else ".")


def tiles(
    found: Sequence[tuple[str, str, dict]],
    cases: Sequence[Mapping],
    rows: Sequence[Mapping],
    states: Mapping[str, str],
) -> list[tuple[str, str, str]]:
    """(name, value, note) of the numbers that come first: in domain, after the last stage, beside the one before.
    states: stage -> what has become of it."""
    evaluated = [
        (name, result) for name, role, result in found if role == "train" and name in POLICIES and result.get("metrics")
    ]
    tiles_found, names = [], shown_names([name for name, _ in evaluated], states)
    for title, read, form in (
        ("Polarity accuracy", lambda r: r["metrics"]["Polarity_acc"], "{:.1%}"),
        ("MAE", lambda r: r["metrics"]["MAE"] if read_of(r)[0] else None, "{:.3f}"),
        ("Reward, sampled", lambda r: r.get("mean_sampled_reward"), "{:.3f}"),
    ):
        values = [(name, read(result)) for name, result in evaluated if read(result) is not None]
        if values:
            before = [f"{names[name]} {form.format(value)}" for name, value in values[:-1]]
            tiles_found.append((title, form.format(values[-1][1]), ", ".join(before) or names[values[-1][0]]))
    first = cases[0]["data"] if cases else ""
    hard = [case for case in cases if "hard" in case["kinds"] and case["data"] == first]
    if hard and len(evaluated) > 1:
        rescued = sum("rescued" in case["kinds"] for case in hard)
        broken = sum("broken" in case["kinds"] for case in cases if case["data"] == first)
        note = f"hard: every sampled answer failed before RL; of all clips, {broken} broke"
        tiles_found.append(("Hard clips put right", f"{rescued} of {len(hard)}", note))
    steps = [row for row in rows if row.get("stage") == "grpo"]
    if steps:
        spent = sum((row.get("step_time") or 0) + (row.get("data_time") or 0) for row in steps)
        tiles_found.append(("GRPO", f"{len(steps)} steps", f"{spent / 60:.1f} minutes"))
    return tiles_found


def cases_of(run: Run, settings: ReportSettings, most: int = 200) -> tuple[list[dict], dict[int, dict]]:
    """(numbered cases, number -> media of some of them)."""
    cases, places = [], {}
    for role in datasets(settings):
        found = {
            name: path for name in POLICIES if (path := run.path("evaluate", name, role, "predictions.jsonl")).exists()
        }
        names = shown_names(list(found), statuses(run.workdir))
        answered = {names[name]: read_predictions(path) for name, path in found.items()}
        others = [
            path
            for path in sorted(run.workdir.glob(f"evaluate/*/{role}/predictions.jsonl"))
            if path.parent.parent.name not in POLICIES
        ]
        if not answered:
            continue
        policies = list(answered)
        for path in others:
            answered[path.parent.parent.name] = read_predictions(path)
        answered = {name: rows for name, rows in answered.items() if name != "zero-shot" or len(policies) == 1}
        policies = [name for name in policies if name in answered]
        manifest = read_manifest(records_dir(run, settings, role))
        language = manifest.languages[0] if len(manifest.languages) == 1 else ""
        cases += make_cases(data_name(settings, role), answered, policies[0], policies[-1], language)
        places[data_name(settings, role)] = records_dir(run, settings, role)
    chosen = choose_media(cases, most)
    media = {}
    for name, directory in places.items():
        ids = {id for data, id in chosen if data == name}
        index = {
            entry.id: i for i, entry in enumerate(read_index(directory, settings.evaluate.split)) if entry.id in ids
        }
        source = RecordSource(directory, settings.evaluate.split)
        for id, i in index.items():
            record = source[i]
            clip = unpack(record)
            sound = unpack_pcm(record)
            if len(clip.frames) or len(sound):
                media[name, id] = media_of(clip.frames, sound, SAMPLE_RATE)
    cases = numbered(cases, media)
    return cases, {case["n"]: media[key] for case in cases if (key := (case["data"], case["id"])) in media}
