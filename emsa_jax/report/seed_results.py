"""What runs over several seeds came to, as values that a program can use, and as tables for people and papers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emsa_jax.evaluation.resampling import over_seeds
from emsa_jax.report import latex
from emsa_jax.report.result_table import MARKS, read_of

COLUMNS = ("data", "metric", "mean", "std", "95% interval", "seeds")


@dataclass(frozen=True, kw_only=True)
class SeedRun:
    """The run of one seed.

    Attributes:
      policy: the stage whose policy was judged, such as "grpo"; "zero_shot" where nothing was trained.
      status: what has become of that stage, "" where nothing was trained.
      results: data set -> the content of its metrics.json.
    """

    seed: int
    workdir: Path
    policy: str
    status: str
    results: Mapping[str, Mapping]

    @property
    def warning(self) -> str:
        """ "nothing learned", "collapsed", or "" where there is nothing to warn of."""
        return MARKS.get(self.status, "")


@dataclass(frozen=True, kw_only=True)
class Statistic:
    """A metric on a data set over the seeds in which it rests on answers that were read.

    Attributes:
      values: seed -> value.
      std: the standard deviation between seeds (ddof 1); None for one seed.
      interval: 95%, of the mean over seeds (Student); for one seed of a bootstrap over its clips. None where there is
        none.
      clips: how many clips it was measured on, in each seed.
    """

    data: str
    metric: str
    values: Mapping[int, float]
    mean: float
    std: float | None
    interval: tuple[float, float] | None
    clips: int


@dataclass(frozen=True, kw_only=True)
class SeedResults:
    """The runs, in the order of their seeds, and what was measured.

    Attributes:
      statistics: of each data set and metric, in the order of a run's table.
    """

    runs: tuple[SeedRun, ...]
    statistics: tuple[Statistic, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, as they were asked for."""
        return tuple(run.seed for run in self.runs)

    @property
    def workdirs(self) -> dict[int, Path]:
        """Seed -> the work directory of its run."""
        return {run.seed: run.workdir for run in self.runs}

    @property
    def metrics(self) -> dict[str, dict[str, Statistic]]:
        """Data set -> metric -> what it came to."""
        found: dict[str, dict[str, Statistic]] = {}
        for one in self.statistics:
            found.setdefault(one.data, {})[one.metric] = one
        return found

    def table(self) -> list[dict[str, str | float | int | None]]:
        """A row for each data set and metric: "data", "metric", "mean", "std", "low", "high", "seeds", "clips", and
        "seed N" for each seed, None where there is no number. `pandas.DataFrame` takes it as it stands."""
        rows = []
        for one in self.statistics:
            low, high = one.interval or (None, None)
            row = {"data": one.data, "metric": one.metric, "mean": one.mean, "std": one.std, "low": low, "high": high}
            row |= {"seeds": len(one.values), "clips": one.clips}
            rows.append(row | {f"seed {seed}": one.values.get(seed) for seed in self.seeds})
        return rows

    def to_markdown(self) -> str:
        """The table with a line for each metric, and what has to be known of it."""
        lines = [COLUMNS, ["---"] * len(COLUMNS), *self._cells("±")]
        text = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]
        return "\n".join([*text, *(line for note in self.notes for line in ("", note))]) + "\n"

    def to_latex(self, caption: str = "") -> str:
        """The table for LaTeX with the package booktabs; the notes follow the caption."""
        rows = [list(map(latex.escape, row)) for row in self._cells("")]
        return latex.table(" ".join([caption, *self.notes]), "llcccc", COLUMNS, rows)

    @property
    def notes(self) -> list[str]:
        """What a reader has to know of the numbers."""
        several = len(self.runs) > 1
        kind = "of the mean over seeds (Student)" if several else "of a bootstrap over clips"
        judged = ", ".join(dict.fromkeys(run.policy for run in self.runs))
        marked = [f"seed {run.seed}: {run.warning}." for run in self.runs if run.warning]
        return [f"Policy: {judged}. Intervals: {kind}.", *marked]

    def __str__(self) -> str:
        return self.to_markdown()

    def _cells(self, sign: str) -> list[tuple[str, ...]]:
        rows = []
        for one in self.statistics:
            std = "-" if one.std is None else f"{sign} {one.std:.3f}".strip()
            span = "-" if one.interval is None else "{:.3f} to {:.3f}".format(*one.interval)
            seeds = f"{len(one.values)} of {len(self.runs)}"
            rows.append((one.data, one.metric, f"{one.mean:.3f}", std, span, seeds))
        return rows


def seed_results(runs: Sequence[SeedRun], numbers: Sequence[Mapping[str, Sequence]]) -> SeedResults:
    """The results of runs. numbers: of each run, data set -> `result_table.measured` of its metrics.json."""
    names = dict.fromkeys((data, one.title) for found in numbers for data, many in found.items() for one in many)
    statistics = []
    for data, title in names:
        known = {
            run.seed: one
            for run, found in zip(runs, numbers, strict=True)
            for one in found.get(data, ())
            if one.title == title
        }
        found = over_seeds([one.value for one in known.values()])
        alone = next(iter(known.values())).interval if len(runs) == 1 else None
        interval = found["interval"] or alone
        counted = next(run.results[data] for run in runs if run.seed in known)
        statistics.append(
            Statistic(
                data=data,
                metric=title,
                values={seed: one.value for seed, one in known.items()},
                mean=found["mean"],
                std=found["std"],
                interval=tuple(interval) if interval else None,
                clips=read_of(counted)[1] or counted["clips"],
            )
        )
    return SeedResults(runs=tuple(runs), statistics=tuple(statistics))
