"""`inspect` as a user starts it: counts on the last line, a page beside the records, one line where it cannot."""

import base64
import csv
import io
import json
import os
import re
from html.parser import HTMLParser

import pytest
import soundfile

from emsa_jax.data.data_options import PrepareOptions
from emsa_jax.data.prepare import prepare
from emsa_jax.data.puppets import PuppetWorld, make_puppets
from emsa_jax.data.records import Entry, RecordSource, unpack, unpack_pcm
from emsa_jax.data.sample import SPLITS
from emsa_jax.jobs.inspect import choose

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """(records of twelve puppets, one of them cut short and one with a script for words; the rows of their labels)."""
    root = tmp_path_factory.mktemp("inspect")
    make_puppets(root / "raw", PuppetWorld(num_train=6, num_valid=3, num_test=3, workers=1))
    with open(root / "raw" / "label.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    rows[0]["text"] = SCRIPT
    with open(root / "raw" / "label.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    bad = rows.pop(2)
    clip = root / "raw" / "Raw" / bad["video_id"] / f"{bad['clip_id']}.mp4"
    clip.write_bytes(clip.read_bytes()[:1500])
    prepare(root / "raw", root / "records", PrepareOptions(num_frames=4, workers=1), (-3.0, 3.0), "en")
    return root / "records", rows, f"{bad['video_id']}$_${bad['clip_id']}"


@pytest.fixture
def start(started):
    """(arguments) -> (exit status, stdout, stderr) of a start with configs/inspect.py."""

    def start(*arguments, config="configs/inspect.py"):
        return started(*arguments, config=config)

    return start


@pytest.fixture
def refused(start, prepared):
    """(arguments) -> the one line of a start with them, which has written nothing."""

    def refused(*arguments, **more):
        before = sorted(prepared[0].parent.rglob("*"))
        status, out, error = start(*arguments, **more)
        assert (status, out) == (2, "") and re.fullmatch(r"error: [^\n]+\n", error), error
        assert sorted(prepared[0].parent.rglob("*")) == before
        return error

    return refused


class Seen(HTMLParser):
    """Tags with their attributes, and the texts of each kind of tag."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.texts = [], {}
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        if data.strip():
            self.texts.setdefault(self.tags[-1][0], []).append(data.strip())


def test_counts_and_page_of_a_set(prepared, start, tmp_path):
    records, rows, bad = prepared
    status, out, error = start(f"data={records}", f"out={tmp_path / 'new' / 'page.html'}")
    assert (status, error) == (0, "")
    counts = json.loads(out.splitlines()[-1])
    assert sum(counts["samples"].values()) == len(rows) == 11
    for split in SPLITS:
        scores = [float(row["label"]) for row in rows if row["mode"] == split]
        signs = {
            "Negative": sum(s < 0 for s in scores),
            "Neutral": scores.count(0.0),
            "Positive": sum(s > 0 for s in scores),
        }
        assert counts["samples"][split] == len(scores) and counts["polarity"][split] == signs | {"unlabelled": 0}
    assert counts["quarantined"] == 1 and counts["languages"] == {"en": 11} and counts["dataset"] == ""
    assert counts["media"] == {"video": 11, "audio": 11, "text": 11}
    assert counts["page"] == str(tmp_path / "new" / "page.html")
    lost = {split: found["quarantined"] for split, found in counts["findings"]["splits"].items()}
    assert lost == {"train": 1, "valid": 0, "test": 0} and counts["findings"]["reasons"]

    seen = Seen((tmp_path / "new" / "page.html").read_text(encoding="utf-8"))
    assert len([tag for tag, _ in seen.tags if tag == "article"]) == 11
    assert sorted(seen.texts["blockquote"]) == sorted(row["text"] for row in rows)
    assert SCRIPT in seen.texts["blockquote"] and len([tag for tag, _ in seen.tags if tag == "script"]) == 1
    assert bad in seen.texts["bdi"] and any(text.startswith("video: ") for text in seen.texts["td"])
    assert len([tag for tag, _ in seen.tags if tag == "img"]) == 4 * 11
    source = RecordSource(records, "train")
    heard = [attributes["src"] for tag, attributes in seen.tags if tag == "audio"][0]
    pcm, rate = soundfile.read(io.BytesIO(base64.b64decode(heard.split(",")[1])), dtype="int16")
    assert rate == 16000 and (pcm == unpack_pcm(source[0])).all()
    assert [text for text in seen.texts["bdi"] if "$_$" in text][0] == unpack(source[0]).id


def test_the_page_lies_beside_the_records(prepared, start):
    records = prepared[0]
    before = sorted(records.iterdir())
    status, out, _ = start(f"data={records}/", "clips=2", "dataset=cmu_mosi")
    counts, page = json.loads(out.splitlines()[-1]), records.with_name("records.html")
    assert status == 0 and counts["page"] == str(page) and sorted(records.iterdir()) == before
    text = page.read_text()
    assert text.count("<article") == 2 and "CMU-MOSI" in text and "(-1,279)" in text
    assert counts["dataset"] == "cmu_mosi"
    assert counts["official"]["samples"] == {"train": 1284, "valid": 229, "test": 686}
    again = start(f"data={records}", "clips=2", "dataset=cmu_mosi")
    assert again[0] == 0 and page.read_text() == text  # the same set, the same page
    page.unlink()


@pytest.mark.parametrize(
    "argument, said",
    [
        ("clips=-1", "config.clips must be at least 0, not -1"),
        ("dataset=mosi", "config.dataset: 'mosi' is none of cmu_mosi, "),
        ("out={records}/page.html", "lies among the records"),
        ("out={records}/../records/deeper/page.html", "lies among the records"),
        ("out={records}/manifest.json", "let it end in .html"),
        ("out=/proc/none/page.html", "/proc/none/page.html cannot be written"),
        ("out={folder}", "is a directory"),
        ("stages=(1,)", "config.stages is not a known field"),
    ],
)
def test_wrong_options_are_one_line(prepared, refused, tmp_path, argument, said):
    folder = tmp_path / "folder.html"
    folder.mkdir()
    assert said in refused(f"data={prepared[0]}", argument.format(records=prepared[0], folder=folder))


def test_what_is_no_set_of_records_is_one_line(refused, prepared, tmp_path):
    assert "config.data: name a directory of records" in refused()
    assert "holds no manifest.json: run prepare on it first" in refused(f"data={tmp_path}")
    assert "holds no manifest.json" in refused(f"data={tmp_path / 'absent'}")
    assert "has no presets" in refused(config="configs/inspect.py:msa_thinker")


def test_a_page_within_linked_records_is_refused(refused, prepared, tmp_path):
    (tmp_path / "link").symlink_to(prepared[0])
    assert "lies among the records" in refused(f"data={tmp_path / 'link'}", f"out={prepared[0] / 'page.html'}")
    assert "lies among the records" in refused(f"data={prepared[0]}", f"out={tmp_path / 'link' / 'page.html'}")


@pytest.mark.parametrize("name", ["manifest.json", "index.jsonl", "train-00000.array_record"])
@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_damaged_records_are_one_line(prepared, refused, tmp_path, name, harm):
    """Also where the damage is in a clip that would not be shown."""
    copy = tmp_path / "records"
    copy.mkdir()
    for file in prepared[0].iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    path = copy / name
    data = bytearray(path.read_bytes())
    if harm == "flip":
        data[0 if name == "manifest.json" else len(data) // 3] ^= 16
        path.write_bytes(data)
    elif harm == "cut":
        path.write_bytes(data[:-20])
    else:
        os.unlink(path)
    error = refused(f"data={copy}", "clips=0")
    assert name in error
    assert not copy.with_name("records.html").exists()


def test_samples_of_every_class_and_split_come_first():
    def entries(split, labels):
        return [Entry(str(i), "", 0.0, split, "en", 0, 0, 0, 0.0, 0, label) for i, label in enumerate(labels)]

    splits = {"train": entries("train", "aaaaaaaaaab"), "valid": entries("valid", "a"), "test": entries("test", "cc")}
    chosen = [choose(splits, n) for n in range(16)]
    assert [len(clips) for clips in chosen] == [*range(15), 14]
    assert chosen[4] == [("train", 0), ("train", 10), ("valid", 0), ("test", 0)]
    assert chosen[6] == [("train", 0), ("train", 9), ("train", 10), ("valid", 0), ("test", 0), ("test", 1)]
    assert chosen[15] == [(split, i) for split in splits for i in range(len(splits[split]))]
    assert choose({"train": [], "valid": [], "test": []}, 5) == []
