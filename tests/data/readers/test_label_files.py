"""Encodings, separators, quoting and links: what label files do to readers."""

import os
from collections import Counter

import pytest

from emsa_jax.data.data_options import ReadingOptions
from emsa_jax.data.readers import READERS, read_samples
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError

HEADER = "id,text,label,mode"
ROW = ["a", "不，我不想去那里，你们去吧", "-0.5", "train"]
WANTED = [Sample("a", "不，我不想去那里，你们去吧", -0.5, "train")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "gbk", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings(folder, encoding):
    content = f'{HEADER}\r\na,"不，我不想去那里，你们去吧",-0.5,train\r\n'
    mark = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    path = folder.text("texts.csv", mark + content.encode(encoding))
    assert read_samples(path) == WANTED


def test_gb18030_in_jsonl_and_txt(folder):
    line = '{"id": "a", "text": "不，我不想去那里，你们去吧", "label": -0.5, "mode": "train"}\n'
    assert read_samples(folder.text("texts.jsonl", line, "gb18030")) == WANTED
    path = folder.text("train.txt", "一 3 高兴\n", "gb18030")
    folder.clip("video/一.mp4")
    assert [(s.id, s.label) for s in read_samples(path, dataset="emotion_llama")] == [("一", "高兴")]


@pytest.mark.parametrize(
    "data, complaint",
    [
        (b"a,caf\xe9,0,train", "texts.csv is not a utf-8 csv, nor in utf-16 or gb18030 .* save it as utf-8"),
        ("a,d\u00e9sol\u00e9s,0,train".encode("latin-1"), "is not a utf-8 csv"),
        ("a,0,train,不，我不想去那里".encode()[:-1], "is not a utf-8 csv"),  # not mistaken for gb18030
        ("a,x,0,train\n".encode("utf-16-le"), "contains NUL characters"),
        (b"a,\x00,0,train", "contains NUL characters"),
        (b'a,"x,0,train', r"texts.csv is not a csv \(near line 2: unexpected end of data\)"),
        (b'a,"x"y,0,train', r"not a csv \(near line 2: ',' expected after '\"'\)"),
        (b"a," + b"x" * 200_000 + b",0,train", "field larger than field limit"),
    ],
)
def test_no_text_or_no_csv(folder, data, complaint):
    with pytest.raises(InputError, match=complaint):
        read_samples(folder.text("texts.csv", HEADER.encode() + b"\n" + data))


def test_a_damaged_utf_16_file(folder):
    with pytest.raises(InputError, match="is not a utf-8 csv, nor in utf-16"):
        read_samples(folder.text("texts.csv", b"\xff\xfe" + HEADER.encode("utf-16-le") + b"\x00"))


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators(folder, separator):
    lines = [HEADER.split(","), ["a", "yes, and no", "0.5", "train"]]
    path = folder.text("texts.csv", "\n".join(map(separator.join, lines)))
    assert read_samples(path) == [Sample("a", "yes, and no", 0.5, "train")]


def test_spreadsheets_leave_empty_columns_and_rows(folder):
    path = folder.text("texts.csv", f"{HEADER},,\na,x,0,train,,\n,,,,,\n\nb,y,0,train,,\n")
    assert [s.id for s in read_samples(path)] == ["a", "b"]


def test_lines_inside_quotes_are_counted(folder):
    path = folder.text("texts.csv", f'{HEADER}\na,"one\ntwo",0,train\nb,x,zero,train\n')
    with pytest.raises(InputError, match="texts.csv line 4: label 'zero' is not a number"):
        read_samples(path)


def test_a_complaint_is_one_line_whatever_the_names(folder):
    with pytest.raises(InputError, match="must name the columns .it reads: id,my text,label") as caught:
        read_samples(folder.text("texts.csv", '"id","my\n\ntext",label,mode\n'))
    assert "\n" not in str(caught.value)


def test_a_column_twice(folder):
    with pytest.raises(InputError, match="names a column twice: id,text,text,label,mode"):
        read_samples(folder.text("texts.csv", "id,text,text,label,mode\n"))


@pytest.mark.parametrize("dataset", READERS)
def test_links_in_a_circle(folder, dataset):
    """As the source itself, and as the label files inside it: told apart from a data set, and not followed."""
    os.symlink(folder / "loop", folder / "loop")
    with pytest.raises(InputError, match="loop does not exist"):
        read_samples(folder / "loop", dataset=dataset)
    (folder / "set").mkdir()
    for name in (
        "label.csv",
        "meta.csv",
        "train_sent_emo.csv",
        "train-label.csv",
        "track2_train_mercaptionplus.csv",
        "MERR_fine_grained.json",
        "gt-chi.csv",
        "train.json",
        "train.txt",
        "video",
        "Raw",
    ):
        os.symlink(folder / "set" / name, folder / "set" / name)
    with pytest.raises(InputError, match="set"):
        read_samples(folder / "set", dataset=dataset)


def test_clips_behind_links_in_a_circle_are_left_to_prepare(folder):
    folder.csv("label.csv", "video_id,clip_id,text,label,mode", ["v", "1", "x", "0", "train"])
    (folder / "Raw" / "v").mkdir(parents=True)
    os.symlink(folder / "Raw" / "v" / "1.mp4", folder / "Raw" / "v" / "1.mp4")
    assert read_samples(folder.root, dataset="cmu_mosi")[0].video == str(folder / "Raw/v/1.mp4")


def test_names_too_long_for_a_file_are_left_to_prepare(folder):
    folder.csv("label.csv", "video_id,clip_id,text,label,mode", ["v" * 300, "1", "x", "0", "train"])
    assert "v" * 300 in read_samples(folder.root, dataset="cmu_mosi")[0].video


def test_a_part_of_train_for_validation(folder):
    rows = [[f"clip {i}", "x", "0", "train"] for i in range(200)]
    rows += [[f"test {i}", "x", "0", "test"] for i in range(50)]
    path = folder.csv("texts.csv", HEADER, *rows)
    splits = {s.id: s.split for s in read_samples(path, reading=ReadingOptions(valid_share=0.2))}
    counts = Counter(splits.values())
    assert 25 <= counts["valid"] <= 55 and counts["test"] == 50
    folder.csv("texts.csv", HEADER, *rows[:100])
    fewer = {s.id: s.split for s in read_samples(path, reading=ReadingOptions(valid_share=0.2))}
    assert fewer == {id_: splits[id_] for id_ in fewer}  # a clip's part does not depend on the others
    folder.csv("texts.csv", HEADER, *rows, ["v", "x", "0", "valid"])
    assert sum(s.split == "valid" for s in read_samples(path, reading=ReadingOptions(valid_share=0.2))) == 1


def test_wrong_arguments(folder):
    path = folder.csv("texts.csv", HEADER, ROW)
    for keywords, complaint in [
        ({"dataset": "mosi"}, "dataset 'mosi' is none of cmu_mosi, "),
        ({"language": "fr"}, "language 'fr' is neither 'en' nor 'zh'"),
    ]:
        with pytest.raises(InputError, match=complaint):
            read_samples(path, **keywords)
    with pytest.raises(InputError, match="read.split: 'dev' is none of train, valid, test"):
        ReadingOptions(split="dev")
    with pytest.raises(InputError, match="is neither a directory nor a .csv or .jsonl file; name its dataset"):
        read_samples(folder.text("texts.doc", "x"))
