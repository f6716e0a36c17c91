"""The demo page as a file: what it holds, and what it may load. In a browser: test_demo_browser.py."""

import base64
import io
import re

import av
import pytest

from emsa_jax.report.demo_page import SCRIPTS, demo_page, samples
from emsa_jax.report.page import template


@pytest.fixture(scope="module")
def content():
    return demo_page()


@pytest.fixture
def page(content):
    return content.decode()


def test_it_is_one_file_that_loads_nothing(content, page, read_page):
    found = read_page(content)
    for tag, attributes in found.tags:
        assert tag not in ("link", "img", "iframe") and "src" not in attributes and "style" not in attributes, tag
        assert not any(name.startswith("on") for name in attributes)
    policy = next(a["content"] for tag, a in found.tags if tag == "meta" and "http-equiv" in a)
    assert "default-src 'none'" in policy and "connect-src 'self' http: https:" in policy
    assert "media-src data: blob:" in policy and "unsafe" not in policy
    assert len(page) < 150_000


def test_every_button_and_field_is_named(content, read_page):
    tags = read_page(content).tags
    named = {a["for"] for tag, a in tags if tag == "label" and "for" in a}
    assert "words" in named
    for tag, attributes in tags:
        if tag == "button":
            assert attributes["type"] == "button"


def test_what_scripts_look_for_is_there(page):
    """Every get("ID") and part("NAME") of the scripts names something of the page."""
    scripts = "".join(map(template, SCRIPTS))
    for name in set(re.findall(r'get\("(\w+)"\)', scripts)):
        assert f'id="{name}"' in page, name
    for name in set(re.findall(r'part\("(\w+)"\)', scripts)):
        assert f'data-is="{name}"' in page, name


def test_texts_never_become_markup():
    scripts = "".join(map(template, SCRIPTS))
    assert not any(word in scripts for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval("))


def test_samples_are_what_browsers_play():
    fits, misleads = samples()
    assert "wonderful" in misleads.text and fits.name != misleads.name
    for sample in (fits, misleads):
        content = base64.b64decode(sample.uri.removeprefix("data:video/mp4;base64,"))
        with av.open(io.BytesIO(content)) as container:
            assert container.streams.video[0].codec_context.name == "h264"
            assert len(list(container.decode(video=0))) == 10
        with av.open(io.BytesIO(content)) as container:
            assert sum(frame.samples for frame in container.decode(audio=0)) >= 19_200
