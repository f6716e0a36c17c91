"""Shows what a directory of records holds: a page to read, and the counts as JSON."""

import json
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np

from emsa_jax.data.facts import facts_of
from emsa_jax.data.readers import check_reader
from emsa_jax.data.records import Clip, Entry, RecordSource, read_index, read_manifest, unpack, unpack_pcm, verify
from emsa_jax.data.sample import SPLITS
from emsa_jax.errors import InputError
from emsa_jax.manifest import write_atomic
from emsa_jax.report.inspect_page import inspect_page
from emsa_jax.report.summary import class_of, summarize
from emsa_jax.runtime.console import say
from emsa_jax.settings.job_options import InspectOptions


def inspect(options: InspectOptions) -> None:
    """Checks every file of the records, writes the page and prints the counts, JSON on the last line."""
    if not options.data:
        raise InputError("config.data: name a directory of records, such as runs/mine/records/train")
    directory = Path(options.data).expanduser().resolve()
    out = _page_path(directory, options.out)
    manifest = read_manifest(directory)
    name = options.dataset or manifest.dataset
    check_reader(name, "config.dataset:")
    facts = facts_of(name)
    verify(directory)
    splits = {split: read_index(directory, split) for split in SPLITS}
    entries = [entry for split in SPLITS for entry in splits[split]]
    counts = {
        "dataset": name,
        **summarize(entries, facts),
        "quarantined": len(manifest.quarantined),
        "findings": manifest.findings,
        "page": str(out),
    }
    page = inspect_page(manifest, facts, entries, counts, _read(directory, choose(splits, options.clips)))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(out, page)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}; name another page as --config.out") from error
    for line in manifest.findings.get("said", ()):
        say(line)
    say(f"{len(entries):,} clips, {len(manifest.quarantined):,} quarantined; all files are sound; the page: {out}")
    print(json.dumps(counts), flush=True)


def choose(splits: dict[str, Sequence[Entry]], number: int) -> list[tuple[str, int]]:
    """(split, index in it) of at most `number` clips: of every class and split once before of any twice, spread
    evenly over the set."""
    groups = []
    for split, entries in splits.items():
        classes: dict[str, list[tuple[str, int]]] = {}
        for i, entry in enumerate(entries):
            classes.setdefault(entry.label or class_of(entry), []).append((split, i))
        groups.append(classes.values())
    turns = [group for turn in zip_longest(*groups) for group in turn if group]  # splits take turns
    shares = [0] * len(turns)
    left = min(number, sum(map(len, turns)))
    while left:
        for i, group in enumerate(turns):
            take = min(left, shares[i] < len(group))
            shares[i], left = shares[i] + take, left - take
    chosen = [
        group[i]
        for group, n in zip(turns, shares, strict=True)
        for i in np.round(np.linspace(0, len(group) - 1, n)).astype(int)
    ]
    return sorted(chosen, key=lambda clip: (SPLITS.index(clip[0]), clip[1]))


def _read(directory: Path, chosen: Sequence[tuple[str, int]]) -> Iterator[tuple[Clip, np.ndarray]]:
    sources = {split: RecordSource(directory, split) for split in SPLITS}
    for split, i in chosen:
        record = sources[split][i]
        yield unpack(record), unpack_pcm(record)


def _page_path(directory: Path, out: str) -> Path:
    """Where the page goes. Raises InputError for what must not be written over."""
    page = Path(out).expanduser().resolve() if out else directory.with_name(f"{directory.name}.html")
    if page.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"config.out: {page} is no name of a page; let it end in .html")
    if directory in page.parents:
        raise InputError(f"config.out: {page} lies among the records; name a page outside of {directory}")
    if page.is_dir():
        raise InputError(f"config.out: {page} is a directory; name a file in it")
    return page
