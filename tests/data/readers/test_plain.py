import json

import pytest

from emsa_jax.data.data_options import ReadingOptions
from emsa_jax.data.readers import read_samples
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError

HEADER = "id,text,label,mode,video,audio,start,end,class,concepts,speaker,reasoning,language"


def expected(folder):
    return [
        Sample(
            "talk/1",
            "好，吧",
            0.5,
            "train",
            str(folder / "a.mp4"),
            "",
            "zh",
            3600.0,
            3604.5,
            "happy",
            (("tone", "sarcastic"), ("scenario", "vlogs")),
            "Ann",
            "She rolls her eyes.",
        ),
        Sample("2", "", None, "valid", "", "/sounds/b.wav", label="sad"),
        Sample("3", "words", None, "test"),
    ]


def test_csv_with_every_column(folder):
    path = folder.csv(
        "clips.csv",
        HEADER,
        [
            "talk/1",
            "好，吧",
            "0.5",
            "train",
            "a.mp4",
            "",
            "3600",
            "3604.5",
            "happy",
            "tone=sarcastic; scenario = vlogs",
            "Ann",
            "She rolls her eyes.",
            "zh",
        ],
        ["2", "", "", "valid", "", "/sounds/b.wav", "", "", "sad", "", "", "", ""],
        ["3", "words", "", "test", "", "", "", "", "", "", "", "", ""],
    )
    assert read_samples(path, dataset="plain") == expected(folder) == read_samples(path, (-1, 1), "en")


def test_jsonl(folder):
    path = folder.jsonl(
        "clips.jsonl",
        {
            "id": "talk/1",
            "text": "好，吧",
            "label": 0.5,
            "mode": "train",
            "video": "a.mp4",
            "start": 3600,
            "end": 3604.5,
            "class": "happy",
            "concepts": {"tone": "sarcastic", "scenario": "vlogs"},
            "speaker": "Ann",
            "reasoning": "She rolls her eyes.",
            "language": "zh",
        },
        {"id": 2, "mode": "valid", "audio": "/sounds/b.wav", "class": "sad", "label": None},
        {"id": "3", "text": "words", "mode": "test", "label": None, "mine\n": [True, {}]},
    )
    assert read_samples(path, dataset="plain") == expected(folder) == read_samples(path, (-1, 1), "en")


def test_text_alone_needs_no_media_columns(folder):
    path = folder.csv("texts.csv", "id,text,label,mode", ["a", "so so", "0.0", "train"])
    assert read_samples(path, dataset="plain") == [Sample("a", "so so", 0.0, "train")]


def test_unlabelled_rows_if_asked_for(folder):
    path = folder.csv("texts.csv", "id,text,label,mode", ["a", "so so", "", "train"])
    with pytest.raises(InputError, match="line 2: label is empty"):
        read_samples(path, dataset="plain")
    assert read_samples(path, dataset="plain", reading=ReadingOptions(unlabelled=True)) == [
        Sample("a", "so so", None, "train")
    ]


GOOD = {"id": "a", "text": "x", "label": "0", "mode": "train"}


@pytest.mark.parametrize(
    "change, complaint",
    [
        ({"start": "-2", "end": "-1"}, "line 1: a clip from -2 to -1 seconds has no length"),
        ({"start": "2", "end": "2"}, "line 1: a clip from 2 to 2 seconds has no length"),
        ({"end": "nan"}, "line 1: end 'nan' is not a number"),
        ({"end": "1e999"}, "line 1: end '1e999' is not a number"),
        ({"concepts": "happy"}, "line 1: concepts 'happy' are neither"),
        ({"concepts": {"tone": 3}}, None),
        ({"concepts": {"tone": ["sad"]}}, "line 1: concepts .* are neither"),
        ({"concepts": "a=b; a=c"}, "line 1: concepts .* are neither"),
        ({"id": "../../x"}, "line 1: id '../../x' must be a printable name that stays inside its folder"),
        ({"id": "/etc/passwd"}, "must be a printable name"),
        ({"id": "a\nb"}, "must be a printable name"),
        ({"id": ""}, "line 1: the id is empty"),
        ({"text": "\udc00"}, "line 1: text contains a NUL or half a character"),
        ({"video": "a\0.mp4"}, "line 1: video contains a NUL or half a character"),
        ({"text": True}, "line 1: text must be a text or a number"),
        ({"label": "0.5.1"}, "line 1: label '0.5.1' is not a number"),
        ({"label": float("nan")}, "line 1: label 'NaN' is not a number"),
        ({"text": " "}, "line 1: text, video and audio are all empty"),
    ],
)
def test_bad_rows(folder, change, complaint):
    path = folder.text("clips.jsonl", json.dumps(GOOD | change) + "\n")
    if complaint is None:
        assert read_samples(path)[0].concepts == (("tone", "3"),)
        return
    with pytest.raises(InputError, match=complaint) as caught:
        read_samples(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_directory_is_no_table(folder):
    with pytest.raises(InputError, match="is a directory; the plain reader takes a csv or jsonl file"):
        read_samples(folder.root, dataset="plain")
