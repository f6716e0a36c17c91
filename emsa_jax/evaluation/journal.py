"""Answers on disk as they come: one JSON object a line, {"id", "texts", "ended"}; what is there is not asked again.

DIRECTORY/0of1.jsonl        written by process 0 of 1; all files of a directory count, whoever wrote them
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from emsa_jax.errors import InputError


class Answered(NamedTuple):
    """texts [k], the answers to one clip; ended [k], False where one was cut off."""

    texts: list[str]
    ended: list[bool]


class Journal:
    """Appends answers to the file of one process. A line torn by a kill is removed first."""

    def __init__(self, directory: Path, process: int = 0, processes: int = 1) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{process}of{processes}.jsonl"
        self._file = open(path, "ab+")  # noqa: SIM115 (held until close)
        self._file.seek(0)
        whole = self._file.read().rfind(b"\n") + 1
        self._file.truncate(whole)

    def write(self, ids: Sequence[str], answers: Sequence[Answered]) -> None:
        """Answers to some clips, on the disk before this returns."""
        lines = [
            json.dumps({"id": id, **one._asdict()}, ensure_ascii=False) + "\n"
            for id, one in zip(ids, answers, strict=True)
        ]
        self._file.write("".join(lines).encode("utf-8", "surrogatepass"))
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Gives the file free."""
        self._file.close()


def read_answers(directory: Path) -> dict[str, Answered]:
    """id -> answers, from all files of a directory. A torn last line is passed over; InputError for a damaged one."""
    found: dict[str, Answered] = {}
    for path in sorted(directory.glob("*.jsonl")):
        data = path.read_bytes()
        lines = data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line.decode("utf-8", "surrogatepass"))
                found[row["id"]] = Answered(list(row["texts"]), [bool(ended) for ended in row["ended"]])
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"{path}, line {number} is damaged; remove the file, and its clips are asked again"
                ) from error
    return found
