"""Answers on disk as they come, one JSON object a line: {"id", "texts", "ended", "scores"}. What is there is not asked.

DIRECTORY/0of1.jsonl        written by process 0 of 1; all files of a directory count, whoever wrote them
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from emsa_jax.append_log import AppendLog, JsonLines, read_log
from emsa_jax.errors import InputError
from emsa_jax.json_file import misfit

_DAMAGE = " is damaged; remove the file, and its clips are asked again"
_FORMAT = JsonLines(_DAMAGE)
_ROW = {"id": str, "texts": [str], "ended": [bool], "scores": [(float, None)]}


class Answered(NamedTuple):
    """texts [k], the answers to one clip; ended [k], False where one was cut off; scores [k], what they are expected to
    score, None where an answer has no place for a score, and () where that was not asked."""

    texts: list[str]
    ended: list[bool]
    scores: Sequence[float | None] = ()


class Journal:
    """Appends answers to the file of one process. A line that a kill left half-written is removed first."""

    def __init__(self, directory: Path, process: int = 0, processes: int = 1) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._log = AppendLog(directory / f"{process}of{processes}.jsonl", _FORMAT)

    def write(self, ids: Sequence[str], answers: Sequence[Answered]) -> None:
        """Appends the answers to some clips, which are on the disk before this returns."""
        self._log.append(*({"id": id, **one._asdict()} for id, one in zip(ids, answers, strict=True)))
        self._log.sync()

    def close(self) -> None:
        """Closes the file."""
        self._log.close()


def read_answers(directory: Path) -> dict[str, Answered]:
    """id -> answers, from all files of a directory. A half-written last line does not count. Raises InputError for a
    damaged one."""
    found: dict[str, Answered] = {}
    for path in sorted(directory.glob("*.jsonl")):
        for number, row in enumerate(read_log(path, _FORMAT), 1):
            row = {"scores": [], **row}
            if misfit(row, _ROW, "") or len(row["texts"]) != len(row["ended"]):
                raise InputError(f"{path}, line {number}{_DAMAGE}")
            found[row["id"]] = Answered(row["texts"], row["ended"], tuple(row["scores"]))
    return found
