"""What every page shares: one template engine that escapes, one style, media as data URIs.

A page is one file. It loads nothing, and its Content-Security-Policy lets nothing but its own style and script (by
their hashes) and media written into it take effect: a text from data that got past the escaping would still not run.
"""

import base64
import hashlib
import io

import jinja2
import numpy as np
import soundfile
from PIL import Image

_ENVIRONMENT = jinja2.Environment(
    autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
)

# the first thing in a body that calls it: a table whose rows are (heading, cells)
TABLE = """
{% macro table(caption, names, rows) %}
<div class="scroll" role="region" aria-label="{{ caption }}" tabindex="0">
<table>
<caption>{{ caption }}</caption>
<thead>
<tr>{% for name in names %}<th scope="col"{% if not loop.first %} class="n"{% endif %}>{{ name }}</th>{% endfor %}</tr>
</thead>
<tbody>
{% for value, cells in rows %}
<tr><th scope="row"><bdi>{{ value }}</bdi></th>{% for cell in cells %}<td class="n">{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table>
</div>
{% endmacro %}"""

STYLE = """
:root { color-scheme: light; --page: #fff; --card: #f6f7f9; --ink: #1b1f24; --soft: #59636e; --line: #d1d9e0;
  --mark: #1f6feb; --warn: #b42318; }
@media screen and (prefers-color-scheme: dark) {
  :root { color-scheme: dark; --page: #0f1318; --card: #181e26; --ink: #e6eaef; --soft: #9aa7b4; --line: #333d49;
    --mark: #6cb0ff; --warn: #ff9a8f; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1, h2, h3 { line-height: 1.2; margin: 2rem 0 .6rem; }
h1 { font-size: 1.7rem; margin-top: .5rem; }
h2 { font-size: 1.25rem; border-top: 1px solid var(--line); padding-top: 1.2rem; }
h3 { font-size: 1rem; margin-top: 0; }
a { color: var(--mark); }
:focus-visible { outline: 3px solid var(--mark); outline-offset: 2px; }
nav ul { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; padding: 0; list-style: none; }
.soft, caption, dt { color: var(--soft); }
td strong { color: var(--warn); }
.tables { display: flex; flex-wrap: wrap; gap: 0 3rem; align-items: flex-start; }
.scroll { overflow: auto; max-width: 100%; margin: .6rem 0 1.2rem; }
.tall { max-height: 32rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: break-word; }
caption { text-align: start; padding-bottom: .3rem; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: start; vertical-align: top; }
td.n, th.n { text-align: end; white-space: nowrap; }
tbody th { font-weight: 400; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); gap: 1rem; }
figure { margin: 0; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
svg .title { fill: var(--ink); font-size: 13px; font-weight: 600; }
svg .axis { stroke: var(--line); }
svg .bar { fill: var(--mark); }
dl { display: grid; grid-template-columns: fit-content(40%) 1fr; gap: .1rem .8rem; margin: .6rem 0; }
dd { margin: 0; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav, audio { display: none !important; }
  .scroll { overflow: visible; max-height: none; }
  figure, article, tr { break-inside: avoid; }
  h2, caption { break-after: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""

_LAYOUT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{{ policy }}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>{{ style | safe }}</style>
</head>
<body>
{% include body %}
{% if script %}
<script>{{ script | safe }}</script>
{% endif %}
</body>
</html>
"""


def render(body: str, title: str, style: str = "", script: str = "", connect: bool = False, **values) -> bytes:
    """A page as UTF-8.

    body: a Jinja template of what the body holds; every value in it is escaped but `Markup`, which our own
    code made. style, script: ours alone, beside `STYLE`; never a text from data. connect: whether the script may ask
    the server that the page came from, and no other.
    """
    style = STYLE + style
    policy = (
        f"default-src 'none'; img-src data:; media-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'" + ("; connect-src 'self'" if connect else "")
    )
    ours = {"title": title, "style": style, "script": script, "policy": policy}
    page = _ENVIRONMENT.from_string(_LAYOUT).render(ours, body=_ENVIRONMENT.from_string(body), **values)
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
