"""The table of results of one data set, as summary.md, the terminal and the page of a run all show it.

Two classes of scores are counted in one way for each family (`sentiment_metrics.paper_row`), and a number that rests on
no answer that was read says so instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emsa_jax.evaluation.sentiment_metrics import paper_row

POLICIES = {"zero_shot": "zero-shot", "align": "aligned", "sft": "after SFT", "grpo": "after RL"}
MARKS = {"nothing_learned": "nothing learned", "collapsed": "collapsed"}  # by the status of a stage
AS_GIVEN = "as given"  # a policy that stands alone: nothing was trained
CONTROLS = {"constant": "mean of train", "random": "random from train", "shuffled": "shuffled labels"}
COMMONEST = "commonest class"

Path = tuple[str, ...]  # where a number stands in an evaluation's metrics.json
REWARDS: dict[str, Path] = {"reward (sampled)": ("mean_sampled_reward",), "reward (greedy)": ("rewards", "total")}
POLARITY = {"polarity acc": ("metrics", "Polarity_acc"), "polarity F1": ("metrics", "Polarity_F1_weighted")}
CLAIMS: dict[str, Path] = {"claim F1": ("claims", "f1"), "no false claim": ("claims", "no_false")}
CLASSES = {
    "sentiment acc": ("metrics", "ACC"),
    "WF1": ("metrics", "WF1"),
    "polarity acc": ("metrics", "Polarity_acc"),
    "concepts acc": ("concepts", "mean", "ACC"),
}
ZERO = {"mosi": "no 0", "sims": "0 neg."}  # how a family's two classes count a score of 0
EXPLAINED = {
    "mosi": "Acc2 and F1 are of two classes without clips whose true score is 0; F1 is weighted by the true classes.",
    "sims": "Acc2 and F1 are of two classes, 0 being negative; F1 is weighted by the true classes.",
}
PARSED = "parsed"
NOTHING = "nothing claimed"
UNREAD = {
    "worst": "An answer that cannot be read counts as wrong, and as the score furthest from the truth.",
    "neutral": (
        "An answer that cannot be read counts as score 0 (evaluate.fallback=neutral), which can look better than an "
        "honest answer."
    ),
    "drop": "Answers that cannot be read are left out (evaluate.fallback=drop).",
    None: "An answer that cannot be read counts as wrong.",
}


@dataclass(frozen=True)
class Cell:
    """A number as a table shows it, with a remark where it needs one, and its interval."""

    value: str
    remark: str = ""
    interval: Sequence[float] | None = None

    @property
    def text(self) -> str:
        """The number with its remark."""
        return f"{self.value} ({self.remark})" if self.remark else self.value


@dataclass(frozen=True)
class Row:
    """The cells of a policy; quiet: of a predictor that has seen no clip."""

    name: str
    cells: tuple[Cell, ...]
    quiet: bool = False


@dataclass(frozen=True, kw_only=True)
class ResultTable:
    """Titles of the columns and the rows. notes: what a reader has to know of how it was counted."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def shown_names(policies: Sequence[str], statuses: Mapping[str, str]) -> dict[str, str]:
    """Policy -> the name that a reader sees.

    Args:
      policies: all that were evaluated; one of a run that stands alone is "as given", and what is no policy of a run
        keeps its name.
      statuses: stage -> what has become of it. That a stage learned nothing, or that its answers collapsed, stands
        beside the name of what it left.
    """
    alone = len({name for name in policies if name in POLICIES}) == 1
    names = {name: AS_GIVEN if alone and name in POLICIES else POLICIES.get(name, name) for name in policies}
    marks = {name: MARKS.get(statuses.get(name, "")) for name in policies}
    return {name: f"{shown} ({marks[name]})" if marks[name] else shown for name, shown in names.items()}


def read_of(found: Mapping[str, Any], polarity: bool = False) -> tuple[int, int]:
    """(answers whose score was read, all) of the clips with a label; polarity: whose polarity was read."""
    metrics = found.get("metrics") or {}
    n = metrics.get("n") or 0
    rate = (found.get("polarity") or metrics if polarity else metrics).get("parse_rate")
    return round(n * (1.0 if rate is None else rate)), n


def unread(found: Mapping[str, Any], polarity: bool = False) -> str:
    """ "0 of 32 read" where none of the answers was read, else ""."""
    read, n = read_of(found, polarity)
    return f"0 of {n} read" if n and not read else ""


def silence(claims: Mapping[str, Any]) -> str:
    """What has to stand beside a share of answers without a false claim, since those that claim nothing have none
    either: "nothing claimed", "3 of 8 claim something", or "" where all do. claims: of `explanations`."""
    claiming, clips = claims.get("claiming"), claims.get("clips")
    if claiming is None or claiming == clips:
        return ""
    return f"{claiming} of {clips} claim something" if claiming else NOTHING


def result_table(results: Sequence[tuple[str, Mapping[str, Any]]]) -> ResultTable:
    """The table of a data set.

    Args:
      results: (name of a policy, its metrics.json) in order, all measured on the data set; those without metrics (clips
        without labels, answers that name other classes) are left out.
    """
    results = [(name, found) for name, found in results if found.get("metrics")]
    columns = _columns([found for _, found in results])
    rows = [Row(name, tuple(_cell(found, *column) for column in columns.items())) for name, found in results]
    size = max((read_of(found)[1] for _, found in results), default=0)
    for name, metrics in floors(results):
        floor = {"metrics": {"n": size} | metrics}
        cells = (Cell("-") if title == PARSED else _cell(floor, title, path) for title, path in columns.items())
        rows.append(Row(name, tuple(cells), True))
    fallbacks = dict.fromkeys(found["metrics"].get("fallback") for _, found in results)
    notes = [UNREAD[fallback] for fallback in fallbacks]
    families = dict.fromkeys(found["metrics"].get("family") for _, found in results)
    notes += [text for family, text in EXPLAINED.items() if family in families]
    notes += ["Corr is over the answers that were read."] if "Corr" in columns else []
    return ResultTable(columns=tuple(columns), rows=tuple(rows), notes=tuple(notes))


@dataclass(frozen=True)
class Measured:
    """A number of a policy on a data set, as it was measured. interval: None where none was computed."""

    title: str
    value: float
    interval: Sequence[float] | None


def measured(found: Mapping[str, Any]) -> list[Measured]:
    """The numbers of a metrics.json that rest on answers that were read, by the titles of `result_table`."""
    numbers = []
    if not found.get("metrics"):
        return numbers
    for title, path in _columns([found]).items():
        value, cell = _at(found, path), _cell(found, title, path)
        if value is not None and not (path[0] == "metrics" and unread(found, title in POLARITY)) and title != PARSED:
            numbers.append(Measured(title, float(value), cell.interval))
    return numbers


def floors(results: Sequence[tuple[str, Mapping[str, Any]]]) -> list[tuple[str, Mapping[str, Any]]]:
    """(name, metrics) of predictors that have seen no clip; "shuffled labels" are the last policy's answers, each held
    against another clip's label."""
    for _, found in reversed(results):
        if controls := found.get("controls"):
            return [(name, controls[control]) for control, name in CONTROLS.items() if control in controls]
    return [(COMMONEST, found["floor"]) for _, found in results[-1:] if found.get("floor")]


def _columns(results: Sequence[Mapping[str, Any]]) -> dict[str, Path]:
    """Title -> path of the numbers that any of the results has."""
    columns = dict(REWARDS)
    families = dict.fromkeys(found["metrics"].get("family") for found in results)
    for family in families:
        if family is None:
            columns |= CLASSES
            continue
        columns |= POLARITY
        for title, key in paper_row(family).items():
            zero = f" ({ZERO[family]})" if title in ("Acc2", "F1") else ""
            columns[title + zero] = ("metrics", key)
    columns |= CLAIMS
    columns[PARSED] = ("metrics", "parse_rate")
    return {title: path for title, path in columns.items() if any(_at(found, path) is not None for found in results)}


def _cell(found: Mapping[str, Any], title: str, path: Path) -> Cell:
    value = _at(found, path)
    if path[0] == "claims":
        claims = found.get("claims") or {}
        remark = silence(claims) if path[-1] == "no_false" and value is not None else ""
        if remark == NOTHING:
            return Cell(remark)
        spans = claims.get("intervals") or {}
        return Cell("-" if value is None else f"{value:.3f}", remark, spans.get(path[-1]))
    if path[0] != "metrics":
        return Cell("-" if value is None else f"{value:.3f}")
    read, n = read_of(found, title in POLARITY)
    if title == PARSED:
        return Cell(f"{read} of {n}")
    if nothing := unread(found, title in POLARITY):
        return Cell(nothing)
    if value is None:
        return Cell("-")
    remark = f"{read} of {n} read" if title == "Corr" and read < n else ""
    return Cell(f"{value:.3f}", remark, (found.get("intervals") or {}).get(path[-1]))


def _at(found: Any, path: Path) -> float | None:
    for name in path:
        found = (found or {}).get(name)
    return found
