"""A reader of pages that refuses what browsers forgive, and records made by hand."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

import numpy as np
import pytest

from emsa_jax.data.records import Clip, Entry, Manifest

VOID = {"meta", "img", "br", "hr", "input", "link"}


@dataclass
class Page(HTMLParser):
    """What a page holds: tags with their attributes, and the texts within each kind of tag."""

    html: str
    tags: list = field(default_factory=list)
    texts: dict = field(default_factory=dict)

    def __post_init__(self):
        super().__init__()
        self._open = []
        self.feed(self.html)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_startendtag(self, tag, attributes):  # <path/>, in SVG
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        assert len(set(names)) == len(names), f"<{tag}> has an attribute twice: {names}"
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open and self._open.pop() == tag, f"</{tag}> closes what is not open"

    def handle_data(self, data):
        for tag in set(self._open):
            self.texts.setdefault(tag, []).append(data)

    def all(self, tag):
        """The attributes of every such tag."""
        return [attributes for name, attributes in self.tags if name == tag]

    def text(self, tag="body"):
        """All text within such tags, white space made one space each."""
        return " ".join(" ".join(self.texts.get(tag, [])).split())


@pytest.fixture
def read_page():
    """(bytes) -> Page, after checks that hold for every page."""

    def read(content: bytes) -> Page:
        page = Page(content.decode("utf-8"))
        assert page.html.startswith("<!doctype html>")
        for tag, attributes in page.tags:
            for name, value in attributes.items():
                assert not name.startswith("on"), f"<{tag}> has a handler {name}"
                if name in ("src", "href", "action", "srcset", "poster", "data", "xlink:href"):
                    assert value.startswith(("data:image/", "data:audio/", "#")), f"<{tag} {name}={value}> leaves us"
            assert "style" not in attributes, f"<{tag}> has a style, which the policy forbids"
            assert tag not in ("link", "iframe", "object", "embed", "base", "form"), f"a <{tag}> has no business here"
            if tag == "img":
                assert attributes.get("alt")
            if tag == "svg":
                assert attributes["role"] == "img" and attributes["aria-label"]
        assert "url(" not in page.text("style") and "@import" not in page.text("style")
        ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
        assert len(set(ids)) == len(ids)
        for attributes in page.all("a"):
            assert attributes["href"][1:] in ids
        for _, attributes in page.tags:
            assert attributes.get("aria-labelledby") in (None, *ids)
        return page

    return read


def _entry(**given) -> Entry:
    fields = {"id": "c", "text": "words", "score": 0.5, "split": "train", "language": "en", "num_frames": 4,
              "height": 56, "width": 84, "frame_rate": 2.0, "mel_frames": 150}  # fmt: skip
    return Entry(**{**fields, **given})


def _clip(**given) -> Clip:
    frames = np.random.default_rng(0).integers(0, 255, (4, 56, 84, 3), np.uint8)
    fields = {"id": "c", "text": "words", "score": 0.5, "split": "train", "language": "en", "frames": frames,
              "frame_rate": 2.0, "mel": np.zeros((150, 128), np.float32)}  # fmt: skip
    return Clip(**{**fields, **given})


def _manifest(**given) -> Manifest:
    shares = {"0": 1.0, "0.5": 2.0, "1": 3.0}
    fields = {"schema": 1, "dataset": "", "inputs": "", "score_range": (-1.0, 1.0), "languages": ["en"],
              "samples": {"train": 1, "valid": 0, "test": 0}, "quarantined": [], "options": {"num_frames": 4},
              "files": [], "hashes": {}, "digest": "d1", "quantiles": {"text": shares, "seconds": shares},
              "boundaries": [], "max_frames": 4, "max_pixels": 4704, "max_mel_frames": 150, "max_text_length": 5,
              "mean_text_length": 5.0, "software": {"av": "1"}}  # fmt: skip
    return Manifest(**{**fields, **given})


@pytest.fixture
def make():
    """make.entry(...), make.clip(...), make.manifest(...): whole ones, with the given fields."""

    class Make:
        entry, clip, manifest = staticmethod(_entry), staticmethod(_clip), staticmethod(_manifest)

    return Make
