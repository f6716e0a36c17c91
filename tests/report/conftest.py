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
    fields = {
        "id": "c",
        "text": "words",
        "score": 0.5,
        "split": "train",
        "language": "en",
        "num_frames": 4,
        "height": 56,
        "width": 84,
        "frame_rate": 2.0,
        "mel_frames": 150,
    }
    return Entry(**{**fields, **given})


def _clip(**given) -> Clip:
    frames = np.random.default_rng(0).integers(0, 255, (4, 56, 84, 3), np.uint8)
    fields = {
        "id": "c",
        "text": "words",
        "score": 0.5,
        "split": "train",
        "language": "en",
        "frames": frames,
        "frame_rate": 2.0,
        "mel": np.zeros((150, 128), np.float32),
    }
    return Clip(**{**fields, **given})


def _manifest(**given) -> Manifest:
    shares = {"0": 1.0, "0.5": 2.0, "1": 3.0}
    fields = {
        "schema": 1,
        "dataset": "",
        "inputs": "",
        "score_range": (-1.0, 1.0),
        "languages": ["en"],
        "samples": {"train": 1, "valid": 0, "test": 0},
        "quarantined": [],
        "options": {"num_frames": 4},
        "files": [],
        "hashes": {},
        "digest": "d1",
        "quantiles": {"text": shares, "seconds": shares},
        "boundaries": [],
        "max_frames": 4,
        "max_pixels": 4704,
        "max_mel_frames": 150,
        "max_text_length": 5,
        "mean_text_length": 5.0,
        "software": {"av": "1"},
    }
    return Manifest(**{**fields, **given})


@pytest.fixture
def make():
    """make.entry(...), make.clip(...), make.manifest(...): whole ones, with the given fields."""

    class Make:
        entry, clip, manifest = staticmethod(_entry), staticmethod(_clip), staticmethod(_manifest)

    return Make


WORDS = "well I said the plan was fine and then nobody came so that was a lovely evening 你好 真的".split()
POLARITY = ("Negative", "Neutral", "Positive")
HOSTILE = """</script><script>alert(1)</script><img src=x onerror='alert(1)'>"""


def _rows(rng, targets, skill, seed):
    drawn = np.random.default_rng(seed)
    rows = []
    for i, target in enumerate(targets):
        score = None if drawn.random() < 0.02 else float(np.clip(target * skill + drawn.normal(0, 1), -3, 3).round(2))
        polarity = None if score is None else POLARITY[int(np.sign(round(score, 0))) + 1]
        think = " ".join(drawn.choice(WORDS, 30))
        reasons = f"<think>1. words: {think}. 2. face: a frown. 3. voice: low.</think>"
        answer = f"<polarity>{polarity}</polarity>\n{reasons}\n<score>{score}</score>"
        rewards = {"format": 1.0, "polarity": 1.0, "score": 0.5, "total": 2.5}
        rows.append(
            {
                "id": f"clip {i:05d}",
                "text": " ".join(rng.choice(WORDS, 14)),
                "target": float(target),
                "target_polarity": POLARITY[int(np.sign(target)) + 1],
                "polarity": polarity,
                "score": score,
                "think": think,
                "well_formed": True,
                "answer": answer if i else HOSTILE,
                "rewards": rewards,
                "about": {"hardness": ("hard", "mixed", "easy")[i % 3], "scenario": f"scene {i % 4}"},
                "shown": ["text", "audio", "video"],
                "sampled_rewards": [2.5, 1.0],
            }
        )
    return rows


@pytest.fixture(scope="session")
def run_content():
    """run_content(cases, media, live=0) -> what a run's page is made of, with curves of 120 steps."""
    from emsa_jax.evaluation.predictions import summarize
    from emsa_jax.report.cases import choose_media, make_cases, media_of, numbered
    from emsa_jax.report.curve_list import CURVES, TIME
    from emsa_jax.report.run_content import Content, Result

    def build(count=40, with_media=4, live=0, runs=("mine",)):
        rng = np.random.default_rng(0)
        targets = rng.choice([-2.4, -1.2, 0.0, 0.6, 1.8], count)
        answered = {"cold start": _rows(rng, targets, 0.4, 1), "after RL": _rows(rng, targets, 0.9, 2)}
        few = {who: rows[:256] for who, rows in answered.items()}
        results = [
            Result(who, data, summarize(rows, (-3.0, 3.0), "neutral", 0.0, targets.tolist(), 20))
            for data in ("puppets:en (in domain)", "puppets:zh (other domain)")
            for who, rows in few.items()
        ]
        cases = make_cases("puppets:en (in domain)", answered, "cold start", "after RL", "en")
        media = {}
        for key in choose_media(cases, with_media):
            frames = rng.integers(0, 255, (4, 56, 56, 3), np.uint8)
            media[key] = media_of(frames, (rng.normal(0, 3000, 40000)).astype(np.int16), 16000)
        cases = numbered(cases, media)
        names = {name for curve in CURVES for name in curve.names} | set(TIME) | {"step_time", "decode_tok_s"}
        rows = {
            run: [
                {"stage": stage, "step": step} | {name: float(rng.random()) for name in names}
                for stage in ("sft", "grpo")
                for step in range(1, 121)
            ]
            for run in runs
        }
        media = {case["n"]: media[key] for case in cases if (key := (case["data"], case["id"])) in media}
        return Content(
            "A run",
            "After RL it is right.",
            rows,
            results,
            cases,
            media,
            hints={"mine": 0.01},
            made=[("What was asked", [("seed", "0")]), ("grpo", [("group_size", "8")])],
            notes=["A note."],
            tiles=[("MAE", "0.5", "cold start 0.9")],
            live=live,
        )

    return build
