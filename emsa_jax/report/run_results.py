"""The first sections of a run's page: results with intervals and floors, and curves."""

from collections.abc import Sequence

from emsa_jax.report.curve_list import CURVES
from emsa_jax.report.plots import Bar, Series, curves, intervals_plot
from emsa_jax.report.run_content import Content, Result, by_data, cell, row, section

CONTROLS = {"constant": "mean of train", "random": "random from train", "shuffled": "shuffled labels"}
SHOWN = {
    "polarity acc": "Polarity_acc",
    "Acc2 (0 positive)": "Has0_acc_2",
    "Acc2 (without 0)": "Non0_acc_2",
    "Acc2 (0 negative)": "Mult_acc_2",
    "Acc3": "Mult_acc_3",
    "Acc5": "Mult_acc_5",
    "Acc7": "Mult_acc_7",
    "F1 polarity, weighted": "Polarity_F1_weighted",
    "MAE": "MAE",
    "Corr": "Corr",
    "R2": "R2",
    "parsed": "parse_rate",
}


def results(content: Content) -> dict | None:
    """Plots and tables of every policy on every data set, floors beside them; paired tests folded away."""
    tables, drawn = [], []
    for data, results in by_data(content.results).items():
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
            if bars:
                bars += [
                    Bar(text, found[key], None, True) for text, found in _controls(scored) if found.get(key) is not None
                ]
            drawn.append(intervals_plot(f"{name}, {data}", unit, bars, 0 if key == "Polarity_acc" else None))
        if scored:
            tables.append(_metrics_table(data, scored))
        labelled = [r for r in results if r.found.get("labels")]
        if labelled:
            names = ["ACC", "WF1", "WP", "F1", "R", "P", "parse_rate"]
            rows = [
                row(r.policy, [cell(r.found["labels"][n], (r.found.get("intervals") or {}).get(n)) for n in names])
                for r in labelled
            ]
            tables.append({"caption": f"Classes, {data}", "columns": ["policy", *names], "rows": rows})
    text = " ".join(
        ["Intervals: 95%, bootstrap over clips. Unparsed answers count as wrong, and as score 0.", *content.notes]
    )
    folded = [
        {
            "caption": name,
            "columns": ["metric", "difference", "p"],
            "rows": [
                row(metric, [cell(one["difference"], one["interval"], "+"), cell(one["p"])])
                for metric, one in found.items()
                if one
            ],
        }
        for name, found in content.paired
    ]
    return section(
        "results",
        "Results",
        drawn=drawn,
        tables=tables,
        text=text,
        kind="few",
        folded=folded,
        folded_title="Paired tests on the same clips (permutation)",
    )


def _metrics_table(data: str, results: Sequence[Result]) -> dict:
    known = {key for r in results for key, value in r.found["metrics"].items() if value is not None}
    other = {"Mult_acc_2"} if "Mult_acc_7" in known else {"Has0_acc_2"}  # the other family's convention for 0
    columns = {name: key for name, key in SHOWN.items() if key in known - other}
    rows = []
    for r in results:
        rewards = [cell(r.found.get("mean_sampled_reward")), cell((r.found.get("rewards") or {}).get("total"))]
        bounds = r.found.get("intervals") or {}
        rows.append(
            row(r.policy, rewards + [cell(r.found["metrics"][key], bounds.get(key)) for key in columns.values()])
        )
    for text, found in _controls(results):
        rows.append(row(text, [cell(None)] * 2 + [cell(found.get(key)) for key in columns.values()], True))
    return {
        "caption": f"{data}: {results[-1].found['metrics']['n']:,} clips with a score",
        "columns": ["policy", "reward, sampled", "reward, answer", *columns],
        "rows": rows,
    }


def _controls(results: Sequence[Result]) -> list[tuple[str, dict]]:
    """(name, metrics) of what saw no clip: of all results the same, but for their own answers to shuffled labels."""
    every = [(r.policy, r.found["controls"]) for r in results if r.found.get("controls")]
    found = [(CONTROLS[name], every[-1][1][name]) for name in ("constant", "random") if every and name in every[-1][1]]
    several = len(every) > 1
    return found + [
        (f"{CONTROLS['shuffled']}, {policy}" if several else CONTROLS["shuffled"], controls["shuffled"])
        for policy, controls in every
    ]


def curve_plots(content: Content) -> dict | None:
    """The curves of `curve_list`; of several runs the first one of each plot, a line a run."""
    several, drawn = len(content.rows) > 1, []
    for curve in CURVES:
        series = []
        for run, rows in content.rows.items():
            staged = [row for row in rows if row.get("stage") == curve.stage]
            names = dict(list(curve.names.items())[:1]) if several else curve.names
            series += [
                Series(run if several else text, [row["step"] for row in staged], [row.get(name) for row in staged])
                for name, text in names.items()
            ]
        title = (
            f"{curve.title}: {next(iter(curve.names.values()))}" if several and len(curve.names) > 1 else curve.title
        )
        drawn.append(curves(title, curve.unit, series, curve.across, curve.smooth, curve.zero))
    return section(
        "curves",
        "Curves",
        drawn=drawn,
        text="Thin: as logged. Bold: running mean. reward is before hints and "
        "comparable between runs; reward_train contains the polarity that a hint gave away.",
    )
