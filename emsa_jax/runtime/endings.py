"""How a process ends that cannot go on: one line on the terminal, and an exit code that says whose turn it is.

  2    the user's: bad input, a full disk, a device or memory that is not there
 42    the launcher's: told to stop, or another process was lost; the same command goes on
130    Ctrl-C
  1    ours: what nobody foresaw; the traceback is in a file
"""

from __future__ import annotations

import datetime
import errno
import os
import re
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path

from emsa_jax.disk import disk_full, is_full, is_too_large
from emsa_jax.errors import InputError
from emsa_jax.parallel import interrupts, processes
from emsa_jax.runtime.console import printable

GOES_ON = "what was finished is kept, and the same command goes on"
_PLACE = Path(__file__).parents[1]
_YOURS = {
    getattr(errno, name)
    for name in ("EACCES", "EPERM", "EROFS", "EMFILE", "ENFILE", "EFBIG", "EIO", "ESTALE", "ENAMETOOLONG", "EADDRINUSE")
}
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP}


@dataclass(frozen=True)
class Ending:
    """The exit code of a process, and the line that says why it ends."""

    code: int
    line: str

    def say(self) -> None:
        """Prints the line on the standard error."""
        print(printable(" ".join(self.line.split())), file=sys.stderr, flush=True)


def ending_of(error: BaseException, workdir: Path | None = None) -> Ending:
    """How a process ends that an error ends. A fault of ours leaves its traceback as a file.

    Args:
      workdir: of the run, where that file is written; None, or a directory that does not exist: among the temporary
        files of the machine.
    """
    if isinstance(error, KeyboardInterrupt) or interrupts.is_requested():  # which a library may have wrapped
        return Ending(interrupts.EXIT, interrupts.LINE)
    if isinstance(error, processes.ProcessError):  # if its code is 42, a launcher starts all of them again
        return Ending(error.code, f"error: another process failed: {error}")
    if isinstance(error, InputError):
        return Ending(2, f"error: {error}")
    if is_full(error):
        where = getattr(error, "filename", None) or workdir or Path.cwd()
        return Ending(2, f"error: {disk_full(where)}")
    if isinstance(error, OSError) and error.strerror and _is_yours(error):
        where = f"{error.filename}: " if error.filename else ""
        return Ending(2, f"error: {where}{error.strerror}; mend that: {GOES_ON}")
    if is_too_large(error):
        where = workdir or Path.cwd()
        return Ending(2, f"error: {where}: File too large for the limits of this machine; raise them: {GOES_ON}")
    if isinstance(error, RuntimeError) and "determine home directory" in str(error):
        return Ending(2, "error: a path begins with ~ and a name that is no user's of this machine; correct it")
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        asked = re.search(r"(?:allocat\w+|requested) (?:of )?([\d.,]+ ?\w*)", str(error))
        size = f" for {asked[1].strip()}" if asked else ""
        return Ending(
            2,
            f"error: there is not enough memory{size}; make batches or prompts smaller: {GOES_ON}",
        )
    return _ours(error, workdir)


def _is_yours(error: OSError) -> bool:
    """Whether an error of the system is for the user to mend: room, permission, limits and disks always are, and that
    something is not there, or not of the kind, where it is no file of this program. Others are faults of ours."""
    if error.errno in _YOURS:
        return True
    if error.errno not in _NOT_THERE or not isinstance(error.filename, str | os.PathLike):
        return False
    place = Path(error.filename).absolute()
    return not any(place.is_relative_to(root) for root in (_PLACE, sys.prefix, sys.base_prefix, "/proc"))


def _ours(error: BaseException, workdir: Path | None) -> Ending:
    kind = f"{type(error).__name__}: {error}"
    said = f"error: this is a fault of emsa_jax: {kind[:200]}{_where(error)}"
    try:
        return Ending(1, f"{said}; report it with {_write_traceback(error, workdir)}; {GOES_ON}")
    except OSError:
        traceback.print_exception(error)
        return Ending(1, said)


def _where(error: BaseException) -> str:
    """The last line of our own code that an error came through."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(_PLACE)
    ]
    return f" ({Path(frames[-1].filename).relative_to(_PLACE.parent)}:{frames[-1].lineno})" if frames else ""


def _write_traceback(error: BaseException, workdir: Path | None) -> Path:
    directory = workdir if workdir is not None and workdir.is_dir() else Path(tempfile.gettempdir())
    stamp = f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}"
    path = directory / f"fault-{stamp}.txt"
    path.write_text("".join(traceback.format_exception(error)), encoding="utf-8", errors="backslashreplace")
    return path
