"""Media files that lie where a set's clips lie, and that no row of it names."""

import os
from collections.abc import Iterable
from pathlib import Path

from emsa_jax.data.readers.clips import SOUNDS, SUFFIXES, folder_of
from emsa_jax.data.sample import Sample

_EXAMPLES = 3


def unnamed_files(source: str | Path, samples: Iterable[Sample]) -> tuple[int, list[str]]:
    """(how many files, the first three by name, relative to the source where they lie below it).

    Looked at are the folders that hold named files: of those below the source, the whole of its own subfolder they are
    in, such as `Raw`. Sound that was taken out of a named video, and lies beside it by the same name, is not counted.
    """
    root = os.path.realpath(folder_of(Path(os.path.abspath(source))))
    named = {os.path.realpath(path) for s in samples for path in (s.video, s.audio) if path and os.path.isfile(path)}
    stems = {os.path.splitext(path)[0] for path in named}
    found: set[str] = set()
    for place, deep in _places(root, {os.path.dirname(path) for path in named}).items():
        for folder, below, names in os.walk(place):
            if not deep:
                below.clear()
            for name in names:
                stem, suffix = os.path.splitext(name)
                if suffix.lower() in SUFFIXES + SOUNDS and not name.startswith("."):
                    path = os.path.realpath(os.path.join(folder, name))
                    if path not in named and os.path.join(folder, stem) not in stems:
                        found.add(path)
    shown = [os.path.relpath(p, root) if p.startswith(root + os.sep) else p for p in sorted(found)[:_EXAMPLES]]
    return len(found), shown


def _places(root: str, folders: Iterable[str]) -> dict[str, bool]:
    """Folder to look at -> whether with all that lies below it."""
    places: dict[str, bool] = {}
    for folder in folders:
        inside = os.path.relpath(folder, root)
        if folder == root or inside.startswith(".."):
            places.setdefault(folder, False)
        else:
            places[os.path.join(root, inside.split(os.sep)[0])] = True
    return places
