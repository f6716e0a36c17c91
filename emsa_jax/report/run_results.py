"""The first sections of a run's page: results with intervals and floors, and curves."""

from emsa_jax.report.curve_files import curve_series
from emsa_jax.report.plots import Bar, curves, intervals_plot
from emsa_jax.report.result_table import floors, read_of, result_table, unread
from emsa_jax.report.run_content import Content, Result, by_data, cell, row, section, table_of


def results(content: Content) -> dict | None:
    """Plots and tables of every policy on every data set, floors beside them; paired tests folded away."""
    tables, drawn, notes = [], [], {}
    for data, results in by_data(content.results).items():
        scored = [r for r in results if r.found.get("metrics")]
        for name, key, unit in (
            ("Polarity accuracy", "Polarity_acc", "share of clips"),
            ("MAE", "MAE", "score points"),
        ):
            bars = [
                Bar(_named(r, key), r.found["metrics"][key], (r.found.get("intervals") or {}).get(key))
                for r in scored
                if r.found["metrics"][key] is not None
            ]
            if bars:
                seen_none = floors([(r.policy, r.found) for r in scored])
                bars += [Bar(text, found[key], None, True) for text, found in seen_none if found.get(key) is not None]
            drawn.append(intervals_plot(f"{name}, {data}", unit, bars, 0 if key == "Polarity_acc" else None))
        if scored:
            made = result_table([(r.policy, r.found) for r in scored])
            tables.append(table_of(made, f"{data}: {read_of(scored[-1].found)[1]:,} clips with a score"))
            notes |= dict.fromkeys(made.notes)
        labelled = [r for r in results if r.found.get("labels")]
        if labelled:
            names = ["ACC", "WF1", "WP", "F1", "R", "P", "parse_rate"]
            rows = [
                row(r.policy, [cell(r.found["labels"][n], (r.found.get("intervals") or {}).get(n)) for n in names])
                for r in labelled
            ]
            tables.append({"caption": f"Classes, {data}", "columns": ["policy", *names], "rows": rows})
    text = " ".join(["Intervals: 95%, bootstrap over clips.", *notes, *content.notes])
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


def _named(result: Result, key: str) -> str:
    """The name of a policy at its bar, with a remark if none of its answers was read."""
    nothing = unread(result.found, polarity=key.startswith("Polarity"))
    return f"{result.policy} ({nothing})" if nothing else result.policy


def curve_plots(content: Content) -> dict | None:
    """The curves of `curve_list`; of several runs the first one of each plot, a line a run."""
    drawn = [
        curves(title, curve.unit, series, curve.across, curve.smooth, curve.zero)
        for curve, title, series in curve_series(content.rows)
    ]
    return section(
        "curves",
        "Curves",
        drawn=drawn,
        text="Thin: as logged. Bold: running mean. reward is before hints and "
        "comparable between runs; reward_train contains the polarity that a hint gave away.",
    )
