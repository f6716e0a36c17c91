"""The page of a run, or of several to compare: results with their intervals and floors, curves, cases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from emsa_jax.report.cases import KINDS, embedded
from emsa_jax.report.curve_list import CURVES, TIME
from emsa_jax.report.page import render
from emsa_jax.report.plots import Bar, Series, curves, heat_map, intervals_plot, shares
from emsa_jax.report.run_script import SCRIPT
from emsa_jax.report.run_style import STYLE
from emsa_jax.report.run_template import BODY

CONTROLS = {"constant": "mean of train", "random": "random from train", "shuffled": "shuffled labels"}
CHECKS = {
    "read": "reasoning can be read",
    "sign_agrees": "score's sign is the polarity's",
    "all_mentioned": "speaks of all that was shown",
    "copied": "same reasoning as another clip's",
    "repetition": "repeated word triples",
    "words": "words, mean",
}
SHOWN = {
    "polarity acc": "Polarity_acc",
    "Acc2 has0": "Has0_acc_2",
    "Acc2 non0": "Non0_acc_2",
    "Acc2 (0 negative)": "Mult_acc_2",
    "Acc3": "Mult_acc_3",
    "Acc5": "Mult_acc_5",
    "Acc7": "Mult_acc_7",
    "F1 polarity": "Polarity_F1_weighted",
    "MAE": "MAE",
    "Corr": "Corr",
    "R2": "R2",
    "parsed": "parse_rate",
}


@dataclass(frozen=True)
class Result:
    """What `evaluation.predictions.summarize` said of a policy on a data set, under the names that a reader sees."""

    policy: str
    data: str
    found: Mapping[str, Any]


@dataclass(frozen=True)
class Content:
    """What a page tells.

    lead: one sentence. rows: run -> its rows of metrics.jsonl. results: in order. cases: `cases.numbered`. media:
    number of a case -> `cases.media_of`. paired: comparisons of two runs, (name, `resampling.compare`). hints: run ->
    share of hinted answers that ignore the hint. made: (caption, (name, value) pairs). tiles: (name, value, note) of
    the numbers that come first. live: seconds until the page is read anew, 0 for a page that is done.
    """

    title: str
    lead: str
    rows: Mapping[str, Sequence[Mapping[str, Any]]]
    results: Sequence[Result]
    cases: Sequence[Mapping[str, Any]] = ()
    media: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    paired: Sequence[tuple[str, Mapping[str, Any]]] = ()
    hints: Mapping[str, float | None] = field(default_factory=dict)
    made: Sequence[tuple[str, Sequence[tuple[str, str]]]] = ()
    notes: Sequence[str] = ()
    tiles: Sequence[tuple[str, str, str]] = ()
    live: int = 0


def run_page(content: Content) -> bytes:
    """The page as UTF-8 HTML, whole in one file."""
    sections = [
        s
        for s in (
            _results(content),
            _curves(content),
            _confusions(content),
            _across(content),
            _breakdowns(content),
            _reasoning(content),
            _time(content),
        )
        if s
    ]
    data = Markup("")
    if content.cases:
        data = embedded("cases", list(content.cases)) + Markup("").join(
            embedded(f"media-{n}", media) for n, media in content.media.items()
        )
    fields = [
        {"name": "data", "title": "Data", "choices": list(dict.fromkeys(case["data"] for case in content.cases))},
        {"name": "truth", "title": "Truth", "choices": sorted({case["truth"] for case in content.cases})},
        {
            "name": "kind",
            "title": "Show",
            "choices": [kind for kind in KINDS if any(kind in case["kinds"] for case in content.cases)],
        },
    ]
    told = (
        f"{len(content.cases):,} clips, {len(content.media):,} of them with pictures and sound. Right and wrong are "
        "those of the last policy; hard: all sampled answers of the cold start failed; rescued: hard, and right "
        "after all; fixed and broken: between the two policies side by side."
    )
    return render(
        BODY,
        content.title,
        STYLE,
        SCRIPT,
        lead=content.lead,
        tiles=content.tiles,
        live=content.live,
        sections=sections,
        total_cases=len(content.cases),
        cases_told=told,
        fields=[f for f in fields if len(f["choices"]) > 1],
        made=[pair for pair in content.made if pair[1]],
        data=data,
    )


def _section(
    id: str,
    title: str,
    drawn: Sequence = (),
    tables: Sequence = (),
    told: str = "",
    kind: str = "",
    folded: Sequence = (),
    folded_title: str = "",
) -> dict | None:
    drawn = [one for one in drawn if one is not None]
    if not drawn and not tables:
        return None
    return {
        "id": id,
        "title": title,
        "drawn": drawn,
        "tables": tables,
        "told": told,
        "kind": kind,
        "folded": folded,
        "folded_title": folded_title,
    }


def _results(content: Content) -> dict | None:
    tables, drawn = [], []
    for data, results in _by_data(content.results).items():
        scored = [r for r in results if r.found.get("metrics")]
        for name, key, unit in (
            ("Polarity accuracy", "Polarity_acc", "share of clips"),
            ("MAE", "MAE", "score points"),
        ):
            bars = [
                Bar(r.policy, r.found["metrics"][key], (r.found.get("intervals") or {}).get(key))
                for r in scored
                if r.found["metrics"][key] is not None
            ]
            if bars and scored[-1].found.get("controls"):
                bars += [
                    Bar(told, scored[-1].found["controls"][control][key], None, True)
                    for control, told in CONTROLS.items()
                    if scored[-1].found["controls"][control].get(key) is not None
                ]
            drawn.append(intervals_plot(f"{name}, {data}", unit, bars, 0 if key == "Polarity_acc" else None))
        if scored:
            tables.append(_metrics_table(data, scored))
        labelled = [r for r in results if r.found.get("labels")]
        if labelled:
            names = ["ACC", "WF1", "WP", "F1", "R", "P", "parse_rate"]
            rows = [
                _row(r.policy, [_cell(r.found["labels"][n], (r.found.get("intervals") or {}).get(n)) for n in names])
                for r in labelled
            ]
            tables.append({"caption": f"Classes, {data}", "columns": ["policy", *names], "rows": rows})
    told = " ".join(
        ["Intervals: 95%, bootstrap over clips. Unparsed answers count as wrong, and as score 0.", *content.notes]
    )
    folded = [
        {
            "caption": name,
            "columns": ["metric", "difference", "p"],
            "rows": [
                _row(metric, [_cell(one["difference"], one["interval"], "+"), _cell(one["p"])])
                for metric, one in found.items()
                if one
            ],
        }
        for name, found in content.paired
    ]
    return _section(
        "results", "Results", drawn, tables, told, "few", folded, "Paired tests on the same clips (permutation)"
    )


def _metrics_table(data: str, results: Sequence[Result]) -> dict:
    columns = {name: key for name, key in SHOWN.items() if any(r.found["metrics"][key] is not None for r in results)}
    rows = []
    for r in results:
        rewards = [_cell(r.found.get("mean_sampled_reward")), _cell((r.found.get("rewards") or {}).get("total"))]
        bounds = r.found.get("intervals") or {}
        rows.append(
            _row(r.policy, rewards + [_cell(r.found["metrics"][key], bounds.get(key)) for key in columns.values()])
        )
    for control, told in CONTROLS.items():
        found = (results[-1].found.get("controls") or {}).get(control)
        if found:
            rows.append(_row(told, [_cell(None)] * 2 + [_cell(found.get(key)) for key in columns.values()], True))
    return {
        "caption": f"{data}: {results[-1].found['metrics']['n']:,} clips with a score",
        "columns": ["policy", "reward, sampled", "reward, answer", *columns],
        "rows": rows,
    }


def _curves(content: Content) -> dict | None:
    several, drawn = len(content.rows) > 1, []
    for curve in CURVES:
        series = []
        for run, rows in content.rows.items():
            staged = [row for row in rows if row.get("stage") == curve.stage]
            names = dict(list(curve.names.items())[:1]) if several else curve.names
            series += [
                Series(run if several else told, [row["step"] for row in staged], [row.get(name) for row in staged])
                for name, told in names.items()
            ]
        title = (
            f"{curve.title}: {next(iter(curve.names.values()))}" if several and len(curve.names) > 1 else curve.title
        )
        drawn.append(curves(title, curve.unit, series, curve.across, curve.smooth, curve.zero))
    return _section(
        "curves",
        "Curves",
        drawn,
        told="Thin: as logged. Bold: running mean. reward is before hints and "
        "comparable between runs; reward_train contains the polarity that a hint gave away.",
    )


def _confusions(content: Content) -> dict | None:
    drawn = []
    for r in content.results:
        labels = r.found.get("labels") or r.found.get("polarity")
        if not labels or not labels.get("n"):
            continue
        counts = labels["confusion"]
        names = labels["classes"]
        columns = [*names, "unparsed"][: len(counts)]
        largest = [max(1, sum(row)) for row in counts]
        drawn.append(
            heat_map(
                f"{r.policy}, {r.data}",
                names,
                columns,
                counts[: len(names)],
                [[v / most for v in row] for row, most in zip(counts, largest, strict=True)],
                "truth",
                "answer",
                "clips; shade: share of the row",
            )
        )
    return _section("confusion", "Confusion", drawn, kind="few", told="What clips of each class were called.")


def _across(content: Content) -> dict | None:
    scored = [r for r in content.results if (r.found.get("metrics") or {}).get("Polarity_acc") is not None]
    data, policies = (list(dict.fromkeys(getattr(r, name) for r in scored)) for name in ("data", "policy"))
    if len(data) < 2:
        return None
    cell = {(r.policy, r.data): r.found["metrics"]["Polarity_acc"] for r in scored}
    values = [[None if (p, d) not in cell else 100 * cell[p, d] for d in data] for p in policies]
    shades = [[0.0 if v is None else v / 100 for v in row] for row in values]
    return _section(
        "across",
        "Across domains",
        [
            heat_map(
                "Polarity accuracy",
                policies,
                data,
                values,
                shades,
                "policy",
                "judged on",
                "% of clips; shade: the same",
                1,
            )
        ],
        kind="few",
    )


def _breakdowns(content: Content) -> dict | None:
    tables = []
    for data, results in _by_data(content.results).items():
        kinds = {kind: None for r in results for kind in r.found.get("breakdowns") or {}}
        for kind in kinds:
            held = [r for r in results if kind in (r.found.get("breakdowns") or {})]
            groups = dict.fromkeys(group for r in held for group in r.found["breakdowns"][kind])
            rows = [
                _row(
                    group,
                    [
                        _cell(
                            next(
                                (
                                    r.found["breakdowns"][kind][group]["n"]
                                    for r in held
                                    if group in r.found["breakdowns"][kind]
                                ),
                                None,
                            )
                        )
                    ]
                    + [_cell(r.found["breakdowns"][kind].get(group, {}).get("polarity_acc")) for r in held],
                )
                for group in groups
            ]
            tables.append(
                {
                    "caption": f"By {kind}, {data}: polarity accuracy",
                    "rows": rows,
                    "columns": [kind, "clips", *(r.policy for r in held)],
                }
            )
    return _section(
        "breakdowns",
        "By kind of clip",
        tables=tables,
        told="hardness: what the cold start's sampled answers "
        "to a clip came to: all below the hint's threshold (hard), some (mixed), none (easy).",
    )


def _reasoning(content: Content) -> dict | None:
    tables = []
    for data, results in _by_data(content.results).items():
        held = [r for r in results if r.found.get("reasoning")]
        if not held:
            continue
        rows = [
            _row(told, [_cell(r.found["reasoning"].get(name), digits=1 if name == "words" else 3) for r in held])
            for name, told in CHECKS.items()
        ]
        for name in ("text", "video", "audio"):
            rows.append(_row(f"speaks of {name}", [_cell(r.found["reasoning"]["mentions"].get(name)) for r in held]))
        for name in dict.fromkeys(n for r in held for n in r.found["reasoning"]["concepts"]):
            rows.append(_row(f"{name} is the label", [_cell(r.found["reasoning"]["concepts"].get(name)) for r in held]))
        tables.append({"caption": f"Reasoning, {data}", "columns": ["check", *(r.policy for r in held)], "rows": rows})
    hints = {run: share for run, share in content.hints.items() if share is not None}
    if hints:
        tables.append(
            {
                "caption": "Hinted answers that deny the hint, while learning",
                "columns": ["run", "share"],
                "rows": [_row(run, [_cell(share)]) for run, share in hints.items()],
            }
        )
    return _section(
        "reasoning",
        "Reasoning",
        tables=tables,
        told="Shares that need no judge. They show reasoning that cannot be right; they cannot show that it is.",
    )


def _time(content: Content) -> dict | None:
    drawn = []
    for run, rows in content.rows.items():
        held = [row for row in rows if row.get("stage") == "grpo" and row.get("step_time") is not None]
        if not held:
            continue
        phases = {told: sum(row.get(name) or 0.0 for row in held) / len(held) for name, told in TIME.items()}
        named = f", {run}" if len(content.rows) > 1 else ""
        drawn.append(shares(f"A GRPO step{named}", "s", phases))
        drawn.append(
            curves(
                f"Speed{named}",
                "answer tokens a second",
                [Series("decode_tok_s", [r["step"] for r in held], [r.get("decode_tok_s") for r in held])],
            )
        )
    return _section("time", "Where the time went", drawn)


def _by_data(results: Sequence[Result]) -> dict[str, list[Result]]:
    return {data: [r for r in results if r.data == data] for data in dict.fromkeys(r.data for r in results)}


def _row(name: str, cells: Sequence[dict], quiet: bool = False) -> dict:
    return {"name": name, "cells": cells, "quiet": quiet}


def _cell(value: float | int | None, interval: Sequence[float] | None = None, sign: str = "", digits: int = 3) -> dict:
    if value is None:
        return {"value": "-", "note": ""}
    shown = f"{value:,}" if isinstance(value, int) else f"{value:{sign}.{digits}f}"
    return {"value": shown, "note": f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else ""}
