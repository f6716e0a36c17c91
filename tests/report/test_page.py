"""Pages: texts stay texts, and the policy lets nothing else run."""

import base64
import hashlib
import io
import re

import numpy as np
import soundfile
from markupsafe import Markup
from PIL import Image

from emsa_jax.report.page import jpeg_uri, render, sound_uri

HOSTILE = """<script>alert(1)</script>"><img src=x onerror='alert(1)'></style>{{ 7 * 7 }}&amp;"""


def decoded(uri, kind):
    assert uri.startswith(f"data:{kind};base64,")
    return io.BytesIO(base64.b64decode(uri.split(",", 1)[1], validate=True))


def test_texts_stay_texts(read_page):
    page = read_page(render('<h1 title="{{ a }}">{{ a }}</h1>{{ ours }}', HOSTILE, a=HOSTILE, ours=Markup("<b>x</b>")))
    assert page.text("h1") == HOSTILE == page.all("h1")[0]["title"] == page.text("title")
    assert not page.all("img") and not page.all("script") and page.text("b") == "x"


def test_the_policy_allows_the_pages_own_style_and_script_alone(read_page):
    page = read_page(render("<p>x</p>", "t", "p { margin: 0 }\n", "let x = 1 < 2;\n"))
    (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["img-src"] == rules["media-src"] == "data:"
    for tag in ("style", "script"):
        content = re.search(f"<{tag}>(.*?)</{tag}>", page.html, re.S)[1]
        assert rules[f"{tag}-src"] == f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def test_light_dark_phone_and_print(read_page):
    page = read_page(render("<p>x</p>", "t"))
    style = page.text("style")
    assert "prefers-color-scheme: dark" in style and "@media print" in style
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    assert page.all("html") == [{"lang": "en"}] and not page.all("script")


def test_odd_characters_do_not_stop_a_page(read_page):
    assert read_page(render("<p>{{ a }}</p>", "t", a="\ud800 你好 \x00")).text("p").startswith("? 你好")


def test_images_are_shrunk_and_kept_in_shape():
    image = np.zeros((100, 60, 3), np.uint8)
    image[:50, :, 0] = 200
    shown = np.asarray(Image.open(decoded(jpeg_uri(image, 50), "image/jpeg"))).astype(int)
    assert shown.shape == (50, 30, 3) and abs(shown[5, 5] - [200, 0, 0]).max() < 12 and shown[45, 5].max() < 12
    assert np.asarray(Image.open(decoded(jpeg_uri(image, 500), "image/jpeg"))).shape == (100, 60, 3)


def test_sounds_are_the_same_to_the_bit():
    pcm = np.random.default_rng(0).integers(-32768, 32767, 5000, np.int16)
    heard, rate = soundfile.read(decoded(sound_uri(pcm, 16000), "audio/flac"), dtype="int16")
    assert rate == 16000 and np.array_equal(heard, pcm)
