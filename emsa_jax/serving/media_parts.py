"""Media in a chat request: base64 data, or files below a directory that the server allows. Nothing is ever fetched."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from emsa_jax.serving.api_errors import ApiError, bad

_KINDS = {"image_url": "image", "video_url": "video", "audio_url": "audio", "input_audio": "audio"}
_DATA = re.compile(r"data:([\w.+/-]*)((?:;[\w.=+-]+)*?)(;base64)?,", re.ASCII)
_SUFFIX = re.compile(r"[a-z0-9]{1,5}", re.ASCII)
_OF_TYPES = {"x-wav": "wav", "wave": "wav", "vnd.wave": "wav", "x-flac": "flac", "mpeg": "mp3"}


@dataclass(frozen=True)
class MediaPart:
    """A medium of a request. kind: "video", "image" or "audio". content: base64, or "" where it is the file `path`
    names. suffix: of a file with the content, without the dot. where: the part, for errors."""

    kind: str
    content: str
    path: str
    suffix: str
    where: str

    def decoded(self) -> bytes:
        """The content's bytes. Raises ApiError where it is no base64."""
        try:
            content = base64.b64decode("".join(self.content.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise bad(f"{self.where}: the data is no base64 ({error})", self.where, "invalid_base64") from error
        if not content:
            raise bad(f"{self.where}: the data is empty", self.where, "invalid_base64")
        return content

    def file_below(self, root: str) -> str:
        """The path of the file, which must lie below `root`. Raises ApiError; it does not tell what lies elsewhere."""
        if not root:
            raise bad(f"{self.where}: this server takes no file addresses; send the data as base64", self.where)
        allowed = Path(root).expanduser().resolve()
        try:
            found = Path(self.path).resolve()
            if Path(self.path).is_absolute() and found.is_relative_to(allowed) and found.is_file():
                return str(found)
        except (OSError, ValueError, RuntimeError):
            pass
        raise bad(f"{self.where}: there is no such file below the directory that this server allows", self.where)


def media_part(part: dict[str, Any], where: str) -> MediaPart:
    """Reads a part of a message that is no text. Raises ApiError naming it."""
    name = part["type"]
    if name not in _KINDS:
        raise bad(f"{where}.type must be one of text, {', '.join(_KINDS)}", f"{where}.type")
    given = part.get(name)
    if name == "input_audio":
        data, suffix = (given.get("data"), given.get("format")) if isinstance(given, dict) else (None, None)
        if not isinstance(data, str) or not isinstance(suffix, str):
            raise bad(f"{where}.input_audio must have data and format", where)
        if data.startswith("data:"):
            return _of_url(_KINDS[name], data, where)
        return MediaPart(_KINDS[name], data, "", _suffix(suffix), where)
    url = given.get("url") if isinstance(given, dict) else given
    if not isinstance(url, str):
        raise bad(f"{where}.{name} must have a url", where)
    return _of_url(_KINDS[name], url, where)


def _of_url(kind: str, url: str, where: str) -> MediaPart:
    if url.startswith("file://"):
        place = unquote(url.removeprefix("file://").removeprefix("localhost"))  # other hosts' names begin no path here
        return MediaPart(kind, "", place or ".", "", where)
    found = _DATA.match(url)
    if found is None or not found[3]:
        raise ApiError(
            400,
            f"{where}: only data:...;base64 addresses are taken, and file:// where the server allows a directory; "
            "nothing is fetched",
            where,
            "invalid_url",
        )
    return MediaPart(kind, url[found.end() :], "", _suffix(found[1].rpartition("/")[2]), where)


def _suffix(name: str) -> str:
    name = _OF_TYPES.get(name.lower(), name.lower())
    return name if _SUFFIX.fullmatch(name) else "bin"
