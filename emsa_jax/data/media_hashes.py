"""Hashes of the media files behind samples, and of all that decides what records hold."""

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from emsa_jax.data.media import Broken
from emsa_jax.data.sample import Sample
from emsa_jax.manifest import sha256_file


def hash_media(samples: Sequence[Sample], progress: Callable[[Iterable, int], Iterator]) -> dict[str, str | Broken]:
    """sample id -> the sha256 of its media ("" without any), or why they cannot be read. Each file is read once."""
    paths = list(dict.fromkeys(path for s in samples for path in (s.video, s.audio) if path))
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        hashes = dict(zip(paths, progress(threads.map(_hash, paths), len(paths)), strict=True))

    def of(sample: Sample) -> str | Broken:
        found = [hashes[path] for path in (sample.video, sample.audio) if path]
        broken = [f for f in found if isinstance(f, Broken)]
        if broken or len(found) < 2:
            return broken[0] if broken else "".join(found)
        return hashlib.sha256(" ".join(found).encode()).hexdigest()

    return {s.id: of(s) for s in samples}


def hash_inputs(samples: Iterable[Sample], sources: dict[str, str | Broken], settings: Any) -> str:
    """sha256 of all that decides what records hold: samples, their media, and settings (JSON values). Where the files
    lie does not matter."""
    sha = hashlib.sha256(json.dumps(settings).encode())
    for s in samples:
        source = sources[s.id]
        media = {"video": bool(s.video), "audio": bool(s.audio)}
        row = asdict(s) | media | {"source": None if isinstance(source, Broken) else source}
        sha.update(json.dumps(row, sort_keys=True).encode())
    return sha.hexdigest()


def _hash(path: str) -> str | Broken:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would never end
            return Broken(f"{path} is not a file")
        return sha256_file(path)
    except FileNotFoundError:
        return Broken(f"there is no file {path}")
    except OSError as error:
        return Broken(f"{path} cannot be read: {error.strerror}")
    except ValueError as error:  # a null byte
        return Broken(f"{path!r} is no path: {error}")
