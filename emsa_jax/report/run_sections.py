"""The later sections of a run's page: confusion, domains, kinds of clips, reasoning, faithfulness, time."""

from collections.abc import Mapping
from typing import Any

from emsa_jax.report.curve_list import TIME
from emsa_jax.report.plots import Series, curves, heat_map, shares
from emsa_jax.report.result_table import NOTHING, silence
from emsa_jax.report.run_content import Content, by_data, cell, row, section

CHECKS = {
    "read": "reasoning can be read (more is better)",
    "sign_agrees": "score's sign is the polarity's (more is better)",
    "all_mentioned": "speaks of all that was shown (more is better)",
    "copied": "same reasoning as another clip's (less is better)",
    "repetition": "repeated word triples (less is better)",
    "words": "words, mean",
}
REASONING = (
    "The checks need no judge: they show reasoning that cannot be right, and cannot show that it is. Claims are read "
    "from the reasoning (the sign of words, face and voice, and whether they agree) and held against what is known of "
    "the clip."
)
UNKNOWN = "Of the clips of {} nothing is known that claims could be held against."
CLAIMS = {
    ("f1",): "claim F1 (more is better)",
    ("precision",): "claims that are true (more is better)",
    ("recall",): "what is owed and said (more is better)",
    ("no_false",): "answers without a false claim (more is better)",
    ("contradicting", "f1"): "claim F1, contradicting clips (more is better)",
    ("contradicting", "no_false"): "without a false claim, contradicting clips (more is better)",
    ("contradicting", "named"): "contradiction named, contradicting clips (more is better)",
    ("contradicting", "named_truly"): "named and nothing false, contradicting clips (more is better)",
    ("finer", "f1"): "F1 of degrees (more is better)",
    ("supports",): "evidence supports the answer (more is better)",
    ("contradicts",): "evidence supports another polarity (less is better)",
    ("agrees_falsely",): "claims an agreement that its own claims deny (less is better)",
    ("not_shown",): "claims something of what was not shown (less is better)",
}


EMPTY_IS_BEST = (
    "no_false",
    "contradicts",
    "agrees_falsely",
    "not_shown",
)  # an answer that claims nothing looks perfect


def confusions(content: Content) -> dict | None:
    """What clips of each class were called, a matrix for each result."""
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
                rows=names,
                columns=columns,
                cells=counts[: len(names)],
                shades=[[v / most for v in row] for row, most in zip(counts, largest, strict=True)],
                down="truth",
                across="answer",
                legend="clips; shade: share of the row",
            )
        )
    return section("confusion", "Confusion", drawn=drawn, kind="few", text="What clips of each class were called.")


def across(content: Content) -> dict | None:
    """Policies by data sets."""
    scored = [r for r in content.results if (r.found.get("metrics") or {}).get("Polarity_acc") is not None]
    data, policies = (list(dict.fromkeys(getattr(r, name) for r in scored)) for name in ("data", "policy"))
    if len(data) < 2:
        return None
    cell = {(r.policy, r.data): r.found["metrics"]["Polarity_acc"] for r in scored}
    values = [[None if (p, d) not in cell else 100 * cell[p, d] for d in data] for p in policies]
    shades = [[0.0 if v is None else v / 100 for v in row] for row in values]
    return section(
        "across",
        "Across domains",
        drawn=[
            heat_map(
                "Polarity accuracy",
                rows=policies,
                columns=data,
                cells=values,
                shades=shades,
                down="policy",
                across="judged on",
                legend="% of clips; shade: the same",
                digits=1,
            )
        ],
        kind="few",
    )


def breakdowns(content: Content) -> dict | None:
    """Accuracy by kind of clip."""
    tables = []
    for data, results in by_data(content.results).items():
        kinds = {kind: None for r in results for kind in r.found.get("breakdowns") or {}}
        for kind in kinds:
            held = [r for r in results if kind in (r.found.get("breakdowns") or {})]
            groups = dict.fromkeys(group for r in held for group in r.found["breakdowns"][kind])
            rows = [
                row(
                    group,
                    [
                        cell(
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
                    + [cell(r.found["breakdowns"][kind].get(group, {}).get("polarity_acc")) for r in held],
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
    return section(
        "breakdowns",
        "By kind of clip",
        tables=tables,
        text="hardness: what the cold start's sampled answers "
        "to a clip came to: all below the hint's threshold (hard), some (mixed), none (easy).",
    )


def reasoning(content: Content) -> dict | None:
    """The checks that need no judge, and what is claimed against what is known of the clips."""
    tables, unknown = [], []
    for data, results in by_data(content.results).items():
        held = [r for r in results if r.found.get("reasoning")]
        if not held:
            continue
        rows = [
            row(text, [cell(r.found["reasoning"].get(name), digits=1 if name == "words" else 3) for r in held])
            for name, text in CHECKS.items()
        ]
        for name in ("text", "video", "audio"):
            rows.append(row(f"speaks of {name}", [cell(r.found["reasoning"]["mentions"].get(name)) for r in held]))
        for name in dict.fromkeys(n for r in held for n in r.found["reasoning"]["concepts"]):
            rows.append(row(f"{name} is the label", [cell(r.found["reasoning"]["concepts"].get(name)) for r in held]))
        tables.append({"caption": f"Reasoning, {data}", "columns": ["check", *(r.policy for r in held)], "rows": rows})
        if claimed := [r for r in held if r.found.get("claims")]:
            tables.append(_claims_table(data, claimed))
            unknown += [] if any(r.found["claims"]["clips"] for r in claimed) else [data]
    hints = {run: fraction for run, fraction in content.hints.items() if fraction is not None}
    if hints:
        tables.append(
            {
                "caption": "Hinted answers that deny the hint, while learning",
                "columns": ["run", "share"],
                "rows": [row(run, [cell(fraction)]) for run, fraction in hints.items()],
            }
        )
    return section(
        "reasoning",
        "Reasoning",
        tables=tables,
        text=" ".join([REASONING, *map(UNKNOWN.format, unknown)]),
    )


def _claims_table(data: str, results: list) -> dict:
    """What explanations claim, a column for each policy."""
    clips, contradicting = (
        max(_at(r.found["claims"], path) or 0 for r in results) for path in (("clips",), ("contradicting", "clips"))
    )
    rows = []
    for path, text in CLAIMS.items():
        found = [r.found["claims"] for r in results]
        spans = [(_at(one, (*path[:-1], "intervals")) or {}).get(path[-1]) for one in found]
        cells = [cell(_at(one, path), span) for one, span in zip(found, spans, strict=True)]
        if path[-1] in EMPTY_IS_BEST:
            cells = [_beside(one, silence(_at(held, path[:-1]) or {})) for one, held in zip(cells, found, strict=True)]
        rows.append(row(text, cells))
    caption = f"What is claimed, {data}: something is known of {clips} clips, {contradicting} of them contradicting"
    return {"caption": caption, "columns": ["measure", *(r.policy for r in results)], "rows": rows}


def _beside(shown: dict, remark: str) -> dict:
    """A cell with a remark about its number, or in its place where it says nothing."""
    if not remark or shown["value"] == "-":
        return shown
    return {"value": remark, "note": ""} if remark == NOTHING else shown | {"note": f"{remark}; {shown['note']}"}


def _at(found: Mapping, path: tuple[str, ...]) -> Any:
    for name in path:
        found = found.get(name) if found else None
    return found


def faithful(content: Content) -> dict | None:
    """The faithfulness cards of the runs, side by side: a line for each intervention and what it means."""
    lines = dict.fromkeys(line["name"] for card in content.cards.values() for line in card)
    cards = {run: {line["name"]: line for line in card} for run, card in content.cards.items()}
    rows, means = [], {name: line.get("means", "") for card in cards.values() for name, line in card.items()}
    for name in lines:
        found = [card.get(name, {}) for card in cards.values()]
        cells = [cell(line.get("value"), line.get("interval")) for line in found]
        rows.append(row(name, [*cells, {"value": means[name], "note": ""}]))
    caption = "Interventions, with intervals over clips"
    return section(
        "faithful",
        "Does the answer hang on the explanation, and the explanation on the clip?",
        tables=[{"caption": caption, "columns": ["line", *cards, "what it means"], "rows": rows}] if rows else [],
        text="Modalities are swapped and removed, the reasoning is cut, turned round and replaced: docs/faithful.md.",
    )


def time_spent(content: Content) -> dict | None:
    """What a GRPO step spends its time on, and how fast it draws."""
    drawn = []
    for run, rows in content.rows.items():
        held = [row for row in rows if row.get("stage") == "grpo" and row.get("step_time") is not None]
        if not held:
            continue
        phases = {text: sum(row.get(name) or 0.0 for row in held) / len(held) for name, text in TIME.items()}
        named = f", {run}" if len(content.rows) > 1 else ""
        drawn.append(shares(f"A GRPO step{named}", "s", phases))
        drawn.append(
            curves(
                f"Speed{named}",
                "answer tokens a second",
                [Series("decode_tok_s", [r["step"] for r in held], [r.get("decode_tok_s") for r in held])],
            )
        )
    return section("time", "Where the time went", drawn=drawn)
