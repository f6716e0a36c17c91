"""Hash manifests: every file of a directory by size and sha256, so that no flipped bit is ever used
unnoticed."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from emsa_jax.disk import told_when_full
from emsa_jax.errors import InputError
from emsa_jax.json_file import misfit

NAME = "MANIFEST.json"
_FIELDS = {"files": {str: {"size": int, "sha256": str}}, "extra": {str: object}}


def write_atomic(path: str | os.PathLike, data: bytes) -> None:
    """Writes a file so that it is there whole or not at all, also after a power cut."""
    write_together(Path(path).parent, {Path(path).name: data})


def write_together(directory: str | os.PathLike, files: Mapping[str, bytes]) -> None:
    """Writes files of one directory: none takes its name before all are on the disk.

    Raises DiskFull where there is no room for them, and OSError for what else is in the way; nothing is left half."""
    places = {name: Path(directory) / f".{name}.tmp-{os.getpid()}" for name in files}
    for name in files:
        if (Path(directory) / name).is_dir():
            raise IsADirectoryError(errno.EISDIR, "a directory is in the way", str(Path(directory) / name))
    try:
        with told_when_full(Path(directory) / next(iter(files)), sum(map(len, files.values()))):
            for name, data in files.items():
                with open(places[name], "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
        for name, temporary in places.items():
            os.replace(temporary, Path(directory) / name)
    except BaseException:
        for temporary in places.values():
            temporary.unlink(missing_ok=True)
        raise
    fsync(directory)


def write_outputs(out: Path, files: Mapping[str, bytes]) -> None:
    """Writes the files of a job into the directory `config.out`: all of them or none.

    Args:
      files: name -> content.

    Raises:
      InputError: the directory or a file cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_together(out, files)
    except OSError as error:
        raise InputError(f"config.out: {error.filename or out} cannot be written: {error.strerror}") from error


def fsync(path: str | os.PathLike) -> None:
    """Waits until a file, or the list of names in a directory, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_file(path: str | os.PathLike) -> str:
    """sha256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(directory: str | os.PathLike, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Hashes all files below `directory` into MANIFEST.json, its last file, and returns what was written.

    extra: JSON values to keep with it. Every file is on the disk before the manifest is.
    Raises OSError for anything that is not a plain file or directory.
    """
    root = Path(directory)
    files = {}
    for name in _names(root):
        path = root / name
        if path.is_symlink() or not path.is_file():
            raise OSError(f"{path} is not a plain file and cannot be part of a manifest")
        fsync(path)
        files[name] = {"size": path.stat().st_size, "sha256": sha256_file(path)}
    for folder, _, _ in os.walk(root):
        fsync(folder)
    body = {"files": files, "extra": dict(extra or {})}
    write_atomic(root / NAME, _encode(body))
    return body


def read_manifest(directory: str | os.PathLike) -> dict[str, Any]:
    """The manifest's {"files", "extra"}. Raises OSError if it is absent and ValueError if it is damaged."""
    data = (Path(directory) / NAME).read_bytes()
    try:
        body = json.loads(data)
        del body["sha256"]
        sound = _encode(body) == data  # to the byte: it is hashed like the files it lists
        sound = sound and not misfit(body, _FIELDS, "")
    except Exception as error:  # whatever a damaged file makes of itself
        raise ValueError(f"{NAME} is damaged") from error
    if not sound:
        raise ValueError(f"{NAME} is damaged")
    return body


def verify(directory: str | os.PathLike) -> list[str]:
    """What is wrong with a directory according to its manifest; an empty list if nothing is. Never raises."""
    root = Path(directory)
    try:
        listed = read_manifest(root)["files"]
    except (OSError, ValueError) as error:
        return [str(error) if isinstance(error, ValueError) else f"{NAME} is missing or unreadable"]
    found = set(_names(root))
    problems = [f"{name} is missing" for name in sorted(listed.keys() - found)]
    problems += [f"{name} is not in {NAME}" for name in sorted(found - listed.keys())]
    for name in sorted(found & listed.keys()):
        path, expected = root / name, listed[name]
        try:
            if path.is_symlink() or not path.is_file():
                problems.append(f"{name} is not a plain file")
            elif (size := path.stat().st_size) != expected["size"]:
                problems.append(f"{name} has {size} bytes instead of {expected['size']}")
            elif sha256_file(path) != expected["sha256"]:
                problems.append(f"{name} has changed since it was written")
        except OSError as error:
            problems.append(f"{name} cannot be read: {error.strerror}")
    return problems


def require_sound(directory: str | os.PathLike) -> None:
    """Verifies a directory that has a manifest, and lets one without (not ours) pass.

    Raises InputError naming the directory and what is damaged.
    """
    if (Path(directory) / NAME).exists() and (problems := verify(directory)):
        raise InputError(f"{directory}: damaged ({'; '.join(problems[:3])}); copy or export it again")


@contextlib.contextmanager
def staged(
    directory: str | os.PathLike, extra: Mapping[str, Any] | None = None, needed: int | None = None
) -> Iterator[Path]:
    """A folder to fill that becomes `directory`, with a manifest, if nothing goes wrong: all or nothing.

    What a killed start left is removed first. needed: about how many bytes it takes, for the message of a full disk.
    Raises InputError if `directory` exists, or cannot be written.
    """
    directory = Path(directory)
    if directory.exists():
        raise InputError(f"{directory}: exists already; remove it or export elsewhere")
    part = directory.with_name(directory.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        with told_when_full(directory, needed):
            part.mkdir(parents=True)
            yield part
            write_manifest(part, extra)
            part.rename(directory)
    except OSError as error:
        raise InputError(f"{directory}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)  # a full disk would stay full
    fsync(directory.parent)


def _names(root: Path) -> list[str]:
    """Everything below root that is not a real directory, as posix paths, but the manifest itself."""
    names = []
    for folder, folders, files in os.walk(root):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        names += [(Path(folder) / name).relative_to(root).as_posix() for name in files + links]
    return sorted(name for name in names if name != NAME)


def _encode(body: Mapping[str, Any]) -> bytes:
    """The manifest's bytes; "sha256" is the hash of the rest, so that a flip in the manifest shows too."""
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return json.dumps({**body, "sha256": digest}, sort_keys=True, indent=1, allow_nan=False).encode() + b"\n"
