"""Rows of a csv or jsonl file, and the objects of a json file; numbers stay as they were written."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from emsa_jax.data import labels_csv
from emsa_jax.data.labels_csv import Where
from emsa_jax.data.readers.clips import name_in
from emsa_jax.errors import InputError
from emsa_jax.json_file import parse_labels

TABLES = (".csv", ".tsv", ".jsonl")


def rows(path: Path, needed: labels_csv.Needed, optional: Sequence[str] = ()) -> Iterator[tuple[Where, dict[str, str]]]:
    """(where, row) of each row of a csv, or of each object of a jsonl; all cells strings, objects as json. Of a jsonl
    only `needed` and `optional` are looked at: what else an object holds may be of any kind."""
    if path.suffix.lower() != ".jsonl":
        yield from labels_csv.rows(path, needed, optional=optional)
        return
    names = [name for choice in (*needed, *optional) for name in ((choice,) if isinstance(choice, str) else choice)]
    for where, entry in objects(path):
        labels_csv.check_columns(needed, list(entry), str(where))
        row = {name: _cell(entry[name], name, where) for name in names if name in entry}
        for name, cell in row.items():
            labels_csv.check_no_error_value(cell, name, where)
        yield where, row


def by_name(path: Path, needed: labels_csv.Needed, column: str = "name") -> dict[str, tuple[Where, dict[str, str]]]:
    """file name in `column` -> (where, row), of a csv that has one row for each."""
    found: dict[str, tuple[Where, dict[str, str]]] = {}
    for where, row in labels_csv.rows(path, (column, *needed)):
        name = name_in(row[column], column, where)
        if name in found:
            raise InputError(f"{where}: {column} {name!r} was already given at {found[name][0]}")
        found[name] = where, row
    return found


def objects(path: Path) -> Iterator[tuple[Where, dict[str, Any]]]:
    """(where, object) of each line of a jsonl, or each entry of a json array. Numbers are strings."""
    text = labels_csv.read_text(path)
    if path.suffix.lower() == ".jsonl":
        lines = enumerate(text.split("\n"), 1)
        entries = ((f"{path} line {n}", parse_labels(line, f"{path} line {n}")) for n, line in lines if line.strip())
    else:
        whole = parse_labels(text, str(path))
        if not isinstance(whole, list):
            raise InputError(f"{path} must hold a json array of objects")
        entries = ((f"{path} entry {n}", entry) for n, entry in enumerate(whole, 1))
    for where, entry in entries:
        yield Where(where), _object(entry, where)


def named_objects(path: Path) -> Iterator[tuple[Where, str, dict[str, Any]]]:
    """(where, name, object) of each member of a json object of objects. Numbers are strings."""
    whole = _object(parse_labels(labels_csv.read_text(path), str(path)), str(path))
    for name, entry in whole.items():
        where = f"{path} entry {name!r}"
        yield Where(where), name, _object(entry, where)


def text_field(entry: dict[str, Any], name: str, where: Where) -> str:
    """The string of a field; "" where it is absent or null."""
    value = entry.get(name)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{where}: {name} must be a text")
    return value or ""


def _cell(value: Any, name: str, where: Where) -> str:
    if isinstance(value, (bool, list)):
        raise InputError(f"{where}: {name} must be a text or a number")
    if isinstance(value, dict):
        return json.dumps(value)
    return "" if value is None else value


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where} must be a json object")
    return value
