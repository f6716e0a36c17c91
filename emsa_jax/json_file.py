"""Reading JSON: files that a person wrote, files that this package wrote, and rows of label files.

What a person wrote is read strictly: what could be understood in two ways is refused. Every error is one line that
names the file, and the line or entry where there are several.
"""

import json
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

    Raises InputError naming the file, for one that cannot be read, is no JSON, holds no object, or a name twice.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"), object_pairs_hook=_unique_names)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: not an object of settings")
    return content


def read_saved_json(path: str | Path, advice: str = "restore it or remove it") -> Any:
    """The content of a file that this package wrote; None where there is no file. Raises InputError for a damaged one,
    with the advice behind it."""
    try:
        return json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged; {advice}") from error


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
