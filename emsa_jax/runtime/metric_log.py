"""metrics.jsonl, with one row for each step, and TensorBoard curves that are made from the same rows."""

import contextlib
import json
import math
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from emsa_jax.append_log import JsonLines, cut_torn_entry, read_log
from emsa_jax.disk import told_when_full
from emsa_jax.errors import InputError
from emsa_jax.json_file import misfit
from emsa_jax.manifest import write_atomic

_DAMAGE = " is not a row of metrics; remove the line"
_FORMAT = JsonLines(_DAMAGE)


def is_row(row: Any) -> bool:
    """Whether a JSON value is a row of metrics: a stage, a step and numbers."""
    if not isinstance(row, Mapping) or not isinstance(row.get("stage"), str) or misfit(row.get("step"), int, ""):
        return False
    numbers = (value for name, value in row.items() if name != "stage")
    return all(value is None or type(value) in (int, float) and math.isfinite(value) for value in numbers)


class MetricLog:
    """The rows of one stage, in a file of the rows of all stages: {"stage", "step", "time", name: number ...}.

    The file is what counts. A stage that goes on has its TensorBoard curves drawn again from the rows.
    """

    def __init__(self, path: str | os.PathLike, stage: str, tensorboard: str | os.PathLike) -> None:
        """Opens the log, and removes a last line that a kill has cut short.

        Args:
          path: of metrics.jsonl.
          tensorboard: the directory of this stage's curves.
        """
        self.path, self.stage, self.tensorboard = Path(path), stage, Path(tensorboard)
        self._writer: SummaryWriter | None = None
        cut_torn_entry(self.path)
        self._redraw()

    def rows(self) -> list[dict[str, Any]]:
        """The rows of this stage so far. Raises InputError naming a line that is not a row."""
        return [row for row in self._all() if row["stage"] == self.stage]

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Appends the values of a step: numbers, or arrays of one number. In the file, NaN and infinities are null."""
        numbers = {name: _number(value) for name, value in values.items()}
        kept = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        row = {"stage": self.stage, "step": int(step), "time": round(time.time(), 3)} | kept
        line = json.dumps(row) + "\n"
        with told_when_full(self.path, len(line)):
            with open(self.path, "a", encoding="utf-8") as file:  # opened each time: another log may replace the file
                file.write(line)
        self._draw(row)

    def truncate_after(self, step: int) -> None:
        """Removes the rows of this stage after `step`, which a run that resumes from there will write again."""
        rows = self._all()
        kept = [row for row in rows if row["stage"] != self.stage or row["step"] <= step]
        if len(kept) == len(rows):
            return
        write_atomic(self.path, "".join(json.dumps(row) + "\n" for row in kept).encode())
        self._redraw()

    def close(self) -> None:
        """Writes the last of the curves; the rows are in the file already."""
        if self._writer is not None:
            with contextlib.suppress(OSError):  # a full disk, say: the next start draws them again
                self._writer.close()
            self._writer = None

    def _all(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for number, row in enumerate(read_log(self.path, _FORMAT) if self.path.exists() else (), 1):
            if not is_row(row):
                raise InputError(f"{self.path}, line {number}{_DAMAGE}")
            rows.append(row)
        return rows

    def _redraw(self) -> None:
        if self._writer is not None:
            self._writer.close()
        shutil.rmtree(self.tensorboard, ignore_errors=True)
        self._writer = SummaryWriter(str(self.tensorboard), flush_secs=10)
        for row in self.rows():
            self._draw(row)

    def _draw(self, row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            if name not in ("stage", "step", "time") and value is not None:
                self._writer.add_scalar(name, value, row["step"], walltime=row.get("time"))


class NoLog:
    """The log of a process that does not write one, because process 0 does."""

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Does nothing."""

    def truncate_after(self, step: int) -> None:
        """Does nothing."""


def _number(value: Any) -> float | int:
    """A Python number of a number or of an array of one."""
    value = value.item() if hasattr(value, "item") else value
    return value if isinstance(value, int) and not isinstance(value, bool) else float(value)
