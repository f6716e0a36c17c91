"""The page of `inspect`: all that it is given can be seen, and none of it does anything."""

import numpy as np
import pytest

from emsa_jax.data.facts import FACTS, Facts
from emsa_jax.data.findings import findings
from emsa_jax.data.sample import Sample
from emsa_jax.report.inspect_page import PLAYED_SECONDS, STRIP_FRAMES, inspect_page
from emsa_jax.report.summary import summarize

HOSTILE = """<script>alert("{{ 7*7 }}")</script>' onload='alert(1)"><img src=http://x.example/ onerror=f()></style>"""
SOUND = np.array([0, 8192, -8192] * 8000, np.int16)


@pytest.fixture
def page_of(make, read_page):
    """(entries, clips, facts, manifest's fields) -> the page, read."""

    def page(entries, clips=(), facts=FACTS["plain"], **given):
        manifest = make.manifest(**given)
        counts = {"dataset": manifest.dataset, **summarize(entries, facts), "quarantined": len(manifest.quarantined)}
        return read_page(inspect_page(manifest, facts, entries, counts, clips))

    return page


def test_a_clip_in_full(make, page_of):
    clip = make.clip(
        id="v$_$7",
        text="我不想嫁给李茶",
        score=-0.6,
        language="zh",
        label="sad",
        speaker="Li",
        concepts=(("tone", "wistful"), ("expression", "sad")),
        reasoning="The voice falls.",
    )
    page = page_of([make.entry()], [(clip, SOUND)])
    assert page.text("h3") == "v$_$7" and page.text("blockquote") == "我不想嫁给李茶"
    assert [quote["lang"] for quote in page.all("blockquote")] == ["zh"]
    told = page.text("article")
    for part in (
        "train",
        "Negative",
        "score -0.6",
        "label sad",
        "speaker Li",
        "tone wistful",
        "expression sad",
        "reasoning The voice falls.",
        "4 frames, 84 x 56 pixels",
        "1.50 s of sound, peak -12.0 dB",
    ):
        assert part in told
    assert [image["alt"] for image in page.all("img")] == [f"frame {i} of 4" for i in (1, 2, 3, 4)]
    (sound,) = page.all("audio")
    assert sound["src"].startswith("data:audio/flac;base64,") and "controls" in sound and sound["aria-label"]
    assert any(svg["aria-label"] == "waveform, peak -12.0 dB" for svg in page.all("svg"))


def test_a_clip_of_words_alone(make, page_of):
    clip = make.clip(frames=np.zeros((0, 0, 0, 3), np.uint8), frame_rate=0.0, mel=np.zeros((0, 128), np.float32))
    page = page_of([make.entry(num_frames=0, frame_rate=0.0, mel_frames=0)], [(clip, np.zeros(0, np.int16))])
    assert not page.all("img") and not page.all("audio")
    assert "no frames; no sound" in page.text("article") and page.text("blockquote") == "words"


def test_long_clips_are_shown_in_part_and_that_is_said(make, page_of):
    frames = np.zeros((100, 28, 28, 3), np.uint8)
    pcm = np.ones((PLAYED_SECONDS + 5) * 16000, np.int16)
    page = page_of([make.entry()], [(make.clip(frames=frames), pcm)])
    assert len(page.all("img")) == STRIP_FRAMES
    assert (page.all("img")[0]["alt"], page.all("img")[-1]["alt"]) == ("frame 1 of 100", "frame 100 of 100")
    assert "24 of them are shown; 65.00 s of sound, peak -90.3 dB; the first 60 s can be played" in page.text("article")


def test_no_text_of_the_data_does_anything(make, page_of):
    entry = make.entry(id=HOSTILE, text=HOSTILE, label=HOSTILE, concepts=((HOSTILE, HOSTILE),), speaker=HOSTILE)
    clip = make.clip(
        id=HOSTILE,
        text=HOSTILE,
        label=HOSTILE,
        concepts=((HOSTILE, HOSTILE),),
        speaker=HOSTILE,
        reasoning=HOSTILE,
        language=HOSTILE,
    )
    page = page_of(
        [entry],
        [(clip, SOUND)],
        Facts(HOSTILE, "en", HOSTILE, notes=(HOSTILE,)),
        dataset=HOSTILE,
        digest=HOSTILE,
        options={HOSTILE: HOSTILE},
        software={HOSTILE: HOSTILE},
        quarantined=[{"id": HOSTILE, "reason": HOSTILE}],
    )
    calm = page_of([make.entry()], [(make.clip(), SOUND)])
    assert [len(page.all(tag)) for tag in ("script", "style", "img")] == [1, 1, 4]
    assert page.text("script") == calm.text("script") and page.text("style") == calm.text("style")
    shown = " ".join(HOSTILE.split())
    # id, words, label, speaker, language, two of the concept, the reasoning
    assert page.text("article").count(shown) == 8
    assert page.text("h1").startswith(shown) and page.text("title").startswith(shown)
    assert page.text("dl").count(shown) == 2 + 3 + 3  # licence, note; concept and reasoning; how it was made
    assert page.text("table").count(shown) == 1 + 2 + 2  # class; concept; quarantined


def test_counts_against_the_official_numbers(make, page_of):
    entries = [make.entry(), make.entry(score=-1.0), make.entry(split="test")]
    facts = Facts(
        "Small",
        "en",
        "free",
        sizes={"train": 1300, "test": 1},
        class_sizes={"all": {"negative": 1, "neutral": 0, "positive": 1}},
        notes=("a trap",),
    )
    page = page_of(entries, (), facts, dataset="small", quarantined=[{"id": "bad7", "reason": "it is cut short"}])
    told = page.text("table")
    assert "split clips official train 2 1,300 (-1,298) valid 0 - test 1 1 Polarity" in told
    assert "train valid test all official Negative 1 0 0 1 1 Neutral 0 0 0 0 0 Positive 1 0 1 2 1 (+1)" in told
    assert "unlabelled 0 0 0 0 -" in told and page.texts["strong"] == ["(-1,298)", "(+1)"]
    assert "1 more were quarantined" in page.text() and "bad7 it is cut short" in told
    assert page.text("h1") == "Small: what the records hold" and "licence free note a trap" in page.text()


def test_without_official_numbers_it_says_how_to_get_them(make, page_of):
    text = page_of([make.entry()]).text()
    assert "--config.dataset=NAME" in text and "None: every item of the source is in the set." in text
    assert "--config.dataset" not in page_of([make.entry()], dataset="plain").text()


def test_classes_and_concepts_are_counted_by_name(make, page_of):
    entries = [
        make.entry(score=None, label="items", concepts=(("values", "1.5"),)),
        make.entry(score=None, label="a.b", split="valid", concepts=(("values", "keys"),)),
    ]
    text = page_of(entries).text("table")
    assert "a.b 0 1 0 1" in text and "items 1 0 0 1" in text and "class train valid test all 1.5 1 0 0 1" in text
    assert "unlabelled" not in text  # a set with classes has no polarity to count


def test_charts_of_what_there_is(make, page_of):
    charts = [svg["aria-label"] for svg in page_of([make.entry(mel_frames=300), make.entry(text="")]).all("svg")]
    assert charts == [
        "Duration, a histogram: 2 clips, 2 to 3 seconds, median 2.5",
        "Words, a histogram: 1 clips, 5 to 5 characters, median 5",
        "Score, a histogram: 2 clips, 0.5 to 0.5 score, median 0.5",
    ]
    assert page_of([]).all("svg") == []


def test_scores_of_every_range_have_a_bar_each(make, page_of):
    for top, grid in ((1.0, 0.2), (3.0, 0.2), (5.0, 0.5)):
        scores = [round(k * grid, 6) for k in range(round(-top / grid), round(top / grid) + 1)]
        page = page_of([make.entry(score=score) for score in scores], score_range=(-top, top))
        said = [told for told in page.texts["rect"] if told.endswith("score: 1 clips")]
        assert said == [f"{score:.4g} score: 1 clips" for score in scores]


def test_what_was_found_out_when_it_was_prepared(make, page_of):
    entries = [make.entry(notes=(HOSTILE,)), make.entry(id="d", text=HOSTILE, score=-0.4, split="test")]
    lost = Sample("x", "", 0.0, "valid", label=HOSTILE)
    samples = [Sample(entry.id, entry.text, entry.score, entry.split) for entry in entries]
    told = findings([*samples, lost], entries, {"x": f"no file /a/{HOSTILE}"}, (-1.0, 1.0), (7, [HOSTILE]))
    page = page_of(entries, findings=told)
    text = page.text()
    assert "warning: all clips of valid (1) were quarantined: valid is empty" in text
    assert "all 1 0 (1 quarantined) 1" in page.text("table") and "no file ..." in page.text("table")
    assert f"note: 1 clip (1 train; c): {' '.join(HOSTILE.split())}" in text
    assert "7 media files beside the clips, named by no row" in text
    assert len(page.all("script")) == 1 and [a["href"] for a in page.all("a")].count("#findings") == 1
    assert "#findings" not in [a["href"] for a in page_of(entries).all("a")]
