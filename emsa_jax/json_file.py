"""Reading JSON: files that a person wrote, files that this package wrote, and rows of label files.

What a person wrote is read strictly: what could be understood in two ways is refused. Every error is one line that
names the file, and the line or entry where there are several.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emsa_jax.errors import InputError


def read_json(path: str | Path, field: str) -> Any:
    """The content of the file that a config field names.

    Raises InputError naming both for a file that cannot be read, a name that is given twice, or half a surrogate pair,
    which no file can hold.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"), object_pairs_hook=_unique_names)
        json.dumps(content, ensure_ascii=False).encode()
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{field}: {path} cannot be read: {reason}") from error
    return content


def read_object(path: str | Path) -> dict[str, Any] | None:
    """The JSON object in a file of a model or adapter directory, which others wrote; None where there is no file.

    Raises InputError naming the file, for one that cannot be read, is no plain file (a link to nothing, a pipe, a
    device), is no JSON, holds no object, or a name twice.
    """
    path = Path(path)
    if path.is_symlink() and not path.exists():
        raise InputError(f"{path}: is a link to a file that is not there; download the directory again")
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{path}: is not a plain file")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_unique_names)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: not an object of settings")
    return content


def read_saved_json(path: str | Path, advice: str = "restore it or remove it", kind: Any = object) -> Any:
    """The content of a file that this package wrote; None where there is no file. Raises InputError for a damaged one,
    with the advice behind it, and for one whose content is not of the kind, in the terms of `misfit`."""
    try:
        found = json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged; {advice}") from error
    if wrong := misfit(found, kind, ""):
        raise InputError(f"{path} is damaged ({wrong}); {advice}")
    return found


def finite_json(value: Any) -> Any:
    """The same JSON value with null in place of numbers that are not finite, which JSON cannot say."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: finite_json(item) for name, item in value.items()}
    return [finite_json(item) for item in value] if isinstance(value, list | tuple) else value


def read_json_rows(path: str | Path, advice: str = "make it again, or restore it") -> list[dict[str, Any]]:
    """The objects of a file with one object a line. Half a surrogate pair, which a policy may write, is read.

    Raises InputError for a file that is missing or damaged, with the advice behind it.
    """
    try:
        lines = Path(path).read_bytes().decode("utf-8", "surrogatepass").split("\n")
        rows = [json.loads(line) for line in lines if line]
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is missing or damaged; {advice}") from error
    if not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path} is damaged: not all of its lines are objects; {advice}")
    return rows


def misfit(value: Any, kind: Any, name: str) -> str:
    """What is wrong with a value that somebody else wrote, in a few words that name the place; "" if nothing is.

    kind: str, bytes, bool, int (a count: at least 0, below 2^53), float (finite; an int will do), None, object (that
      is, anything), a text (that one), a tuple of kinds (one of them), [kind] (a list), [kind, kind] (a list of so
      many), {str: kind} (any names), or {"a": kind, "b": kind} (these names).
    name: of the value; "" for the whole.
    """
    if isinstance(kind, tuple):
        found = [(one, misfit(value, one, name)) for one in kind]
        if not all(wrong for _, wrong in found):
            return ""
        alike = [wrong for one, wrong in found if isinstance(one, list | dict) and type(one) is type(value)]
        return alike[-1] if alike else _not_that(value, kind, name)
    if isinstance(kind, list | dict) and type(value) is not type(kind):
        return _not_that(value, kind, name)
    if isinstance(kind, list):
        kinds = kind * len(value) if len(kind) == 1 else kind
        if len(kinds) != len(value):
            return f"{name or 'it'} must hold {len(kinds)} values, not {len(value)}"
        found = (misfit(one, k, f"{name}[{i}]") for i, (one, k) in enumerate(zip(value, kinds, strict=True)))
        return next(filter(None, found), "")
    if isinstance(kind, dict):
        if str not in kind and (wrong := sorted(map(str, value.keys() ^ kind.keys()))):
            return f"{name or 'it'} has missing or unknown fields {wrong}"
        if not all(isinstance(key, str) for key in value):
            return f"{name or 'it'} has names that are no texts"
        of = f"{name}." if name else ""
        found = (misfit(one, kind.get(str, kind.get(key)), of + key) for key, one in value.items())
        return next(filter(None, found), "")
    return "" if _fits(value, kind) else _not_that(value, (kind,), name)


def _fits(value: Any, kind: Any) -> bool:
    if kind is object:
        return True
    if kind is int:
        return type(value) is int and 0 <= value < 2**53
    if kind is float:
        return type(value) in (int, float) and abs(value) < 2**53 and math.isfinite(value)
    return type(value) is kind if isinstance(kind, type) else type(value) is type(kind) and value == kind


def _not_that(value: Any, kind: Any, name: str) -> str:
    words = {
        str: "a text",
        bytes: "bytes",
        bool: "true or false",
        int: "a count",
        float: "a finite number",
        None: "null",
    }
    wanted = [
        {list: "a list", dict: "an object"}.get(type(one)) or (repr(one) if isinstance(one, str) else words[one])
        for one in (kind if isinstance(kind, tuple) else (kind,))
    ]
    shown = repr(value)[:40] if not isinstance(value, int) or abs(value) < 2**63 else "a huge number"
    return f"{name or 'it'} must be {' or '.join(wanted)}, not {shown}"


def parse_labels(text: str, where: str) -> Any:
    """The value of a JSON text in which numbers stay strings, as they were written.

    where: the file, and the line if the text is one, for messages. Raises InputError for what is not JSON, and for a
    name that is given twice.
    """
    try:
        return json.loads(text, parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=_unique_names)
    except json.JSONDecodeError as error:
        line = "" if " line " in where else f" line {error.lineno}"
        raise InputError(f"{where}{line} is not json ({error.msg})") from error
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error
    except RecursionError as error:
        raise InputError(f"{where} is nested too deeply") from error


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} is given twice")
    return found
