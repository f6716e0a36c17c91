"""What every page shares: one template engine that escapes, one style, media as data URIs.

A page is one file. It loads nothing, and its Content-Security-Policy lets nothing but its own style and script (by
their hashes) and media written into it take effect: a text from data that got past the escaping would still not run.
"""

import base64
import hashlib
import io
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import soundfile
from PIL import Image

TEMPLATES = Path(__file__).parent / "templates"  # the html, css and js of every page, as package data
_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def template(name: str) -> str:
    """The text of a file of `templates/`, such as "run.css"."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


def render(
    body: str,
    title: str,
    style: str = "",
    script: str = "",
    connect: str = "",
    media: str = "data:",
    **values: Any,
) -> bytes:
    """A page as UTF-8.

    body: a Jinja template of what the body holds. Every value in it is escaped, except `Markup`, which our own code
    made. style, script: the page's css and js beside `page.css`; they are written by us and never hold a text from
    data. connect: which servers the script may ask, as a Content-Security-Policy says it: "'self'" is the one that the
    page came from. media: where videos and sound may come from, likewise.
    """
    style = "".join(f"\n{text}" for text in (template("page.css"), style) if text)
    script = script and f"\n{script}"
    policy = (
        f"default-src 'none'; img-src data:; media-src {media}; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'" + (f"; connect-src {connect}" if connect else "")
    )
    ours = {"title": title, "style": style, "script": script, "policy": policy}
    layout = _ENVIRONMENT.get_template("layout.html")
    page = layout.render(ours, body=_ENVIRONMENT.from_string(body), **values)
    return page.encode("utf-8", "replace")  # half of a surrogate pair is no character


def jpeg_uri(image: np.ndarray, max_height: int) -> str:
    """uint8 [H, W, 3] -> a JPEG, shrunk to `max_height` if higher, as a data URI."""
    picture, buffer = Image.fromarray(image), io.BytesIO()
    picture.thumbnail((picture.width, max_height))
    picture.save(buffer, "JPEG", quality=85)
    return _uri("image/jpeg", buffer.getvalue())


def sound_uri(pcm: np.ndarray, rate: int, format: str = "FLAC") -> str:
    """int16 [n], mono -> a data URI: a FLAC, the same samples to the bit, or an "MP3", a tenth of its size."""
    buffer = io.BytesIO()
    soundfile.write(buffer, pcm, rate, format=format, subtype={"FLAC": "PCM_16", "MP3": "MPEG_LAYER_III"}[format])
    return _uri({"FLAC": "audio/flac", "MP3": "audio/mpeg"}[format], buffer.getvalue())


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
