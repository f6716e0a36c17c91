"""What became of each sample of a split, kept on disk as it comes, so that a killed run goes on where it was.

Beside the shards, in a folder that does not travel with them, lie for shard n `<split>-<n>.journal`, all outcomes
since shard n - 1 was cut, and in its place, once the shard is cut, `<split>-<n>.json`: the shard, the entries of its
records, and the samples quarantined on the way. At any moment one of the two holds each outcome.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from emsa_jax.append_log import AppendLog, PackedEntries, read_log
from emsa_jax.data.records.record import Entry, entry, entry_of
from emsa_jax.data.records.shards import ShardWriter
from emsa_jax.data.sample import SPLITS
from emsa_jax.json_file import misfit
from emsa_jax.manifest import sha256_file, write_atomic

_SHARD = {"name": str, "split": SPLITS, "records": int, "bytes": int, "sha256": str}
_SUMMARY = {"shard": (None, _SHARD), "entries": [object], "quarantined": {str: str}}
_JOURNAL_FORMAT = PackedEntries()  # [id, record or None, reason]


class Outcomes:
    """One split's records and quarantined samples. Opening it takes up what an earlier run left.

    The order in which outcomes are added, over all runs, decides the shards. Raises OSError where writing fails.
    """

    def __init__(self, records: Path, work: Path, split: str, shard_bytes: int) -> None:
        self._work, self._split = work, split
        self.shards: list[dict[str, Any]] = []  # as ShardWriter describes them
        self.entries: list[Entry] = []
        self.quarantined: dict[str, str] = {}  # id -> reason
        self._segments = 0  # how many summaries there are
        while (summary := self._summary(records)) is not None:
            self.shards += [summary["shard"]] if summary["shard"] else []
            self.entries += summary["entries"]
            self.quarantined |= summary["quarantined"]
            self._segments += 1
        self._cut_entries, self._cut_quarantined = len(self.entries), len(self.quarantined)
        next_stem = self._path("json").stem
        for path in work.glob(f"{split}-*"):  # journals whose summary is there, and all that follows a damaged shard
            if path.stem > next_stem or path.stem < next_stem and path.suffix == ".journal":
                path.unlink()
        self._writer = ShardWriter(records, split, shard_bytes, first=len(self.shards))
        self._journal: AppendLog | None = None
        journal = self._path("journal")
        for outcome in read_log(journal, _JOURNAL_FORMAT) if journal.exists() else ():
            self._write(*outcome)

    @property
    def done(self) -> set[str]:
        """The ids that have an outcome."""
        return {e.id for e in self.entries} | self.quarantined.keys()

    def add(self, id: str, record: bytes | None, reason: str = "") -> None:
        """A record, or None and why there is none."""
        self._journal = self._journal or AppendLog(self._path("journal"), _JOURNAL_FORMAT)
        self._journal.append([id, record, reason])
        self._write(id, record, reason)

    def close(self) -> None:
        """Cuts the last shard."""
        shard = self._writer.finish()
        if shard or len(self.quarantined) > self._cut_quarantined:
            self._cut(shard)

    def _write(self, id: str, record: bytes | None, reason: str) -> None:
        if record is None:
            self.quarantined[id] = reason
            return
        self.entries.append(entry(record))
        if (shard := self._writer.add(record)) is not None:
            self._cut(shard)

    def _cut(self, shard: dict[str, Any] | None) -> None:
        """Puts a summary in the journal's place; without a shard where all samples since the last are quarantined."""
        entries = [asdict(e) for e in self.entries[self._cut_entries :]]
        quarantined = dict(list(self.quarantined.items())[self._cut_quarantined :])
        summary = {"shard": shard, "entries": entries, "quarantined": quarantined}
        write_atomic(self._path("json"), json.dumps(summary).encode())
        if self._journal is not None:
            self._journal.close(sync=False)  # nobody reads it any more
            self._journal = None
        self._path("journal").unlink(missing_ok=True)
        self.shards += [shard] if shard else []
        self._segments += 1
        self._cut_entries, self._cut_quarantined = len(self.entries), len(self.quarantined)

    def _summary(self, records: Path) -> dict[str, Any] | None:
        """What an earlier run put in the next journal's place, if it did and the shard is sound."""
        path = self._path("json")
        if not path.exists():
            return None
        summary = _summary_of(path.read_bytes())
        shard = summary and summary["shard"]
        file = records / shard["name"] if shard else None
        if summary is None or file and (not file.is_file() or sha256_file(file) != shard["sha256"]):
            path.unlink()
            return None
        return summary

    def _path(self, suffix: str) -> Path:
        return self._work / f"{self._split}-{self._segments:05d}.{suffix}"


def _summary_of(content: bytes) -> dict[str, Any] | None:
    """What a summary says; None for one that is damaged, so that its outcomes are made again."""
    try:
        summary = json.loads(content)
        return None if misfit(summary, _SUMMARY, "") else {**summary, "entries": [*map(entry_of, summary["entries"])]}
    except (ValueError, RecursionError):
        return None
