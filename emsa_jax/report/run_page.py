"""The page of a run, or of several to compare: results with their intervals and floors, curves, cases."""

from markupsafe import Markup

from emsa_jax.report.cases import KINDS, embedded
from emsa_jax.report.page import render, template
from emsa_jax.report.run_content import Content
from emsa_jax.report.run_results import curve_plots, results
from emsa_jax.report.run_sections import across, breakdowns, confusions, faithful, reasoning, time_spent


def run_page(content: Content) -> bytes:
    """The page as UTF-8 HTML, whole in one file.

    Its script is the browser of cases and the refresh of a live page; texts from data become text nodes alone.
    """
    made = (results, curve_plots, confusions, across, breakdowns, reasoning, faithful, time_spent)
    sections = [one for one in (make(content) for make in made) if one]
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
    intro = (
        f"{len(content.cases):,} clips, {len(content.media):,} of them with pictures and sound. Right and wrong are "
        "those of the last policy; hard: all sampled answers of the cold start failed; rescued: hard, and wrong before "
        "but right after; false claim: the last answer claims what is known to be false; fixed and broken: between the "
        "two policies side by side."
    )
    return render(
        template("run.html"),
        content.title,
        template("run.css"),
        template("run.js"),
        lead=content.lead,
        tiles=content.tiles,
        warnings=content.warnings,
        live=content.live,
        sections=sections,
        total_cases=len(content.cases),
        cases_intro=intro,
        fields=[f for f in fields if len(f["choices"]) > 1],
        made=[pair for pair in content.made if pair[1]],
        data=data,
    )
