import pytest

from emsa_jax.data.readers import read_samples
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError

COLUMNS = "video_id,clip_id,text,label,mode,tone,expression,speaking_style,scenario,interaction,reasoning"
ROW = [
    "BV1",
    "3",
    "你可真行，啊",
    "-0.6",
    "train",
    "sarcastic",
    "happy",
    "Informational Interaction",
    "vlogs",
    "single",
    "笑着说反话",
]


def expected(video):
    concepts = (
        ("tone", "sarcastic"),
        ("expression", "happy"),
        ("speaking_style", "Informational Interaction"),
        ("scenario", "vlogs"),
        ("interaction", "single"),
    )
    return Sample(
        "BV1$_$3", "你可真行，啊", -0.6, "train", video, language="zh", concepts=concepts, reasoning="笑着说反话"
    )


def test_csv(folder):
    folder.csv("label.csv", COLUMNS, ROW)
    video = folder.clip("Raw/BV1/0003.mp4")
    assert read_samples(folder.root, dataset="ch_cems") == [expected(video)]


def test_jsonl(folder):
    row = dict(zip(COLUMNS.split(","), ROW, strict=True)) | {"label": -0.6, "clip_id": 3}
    path = folder.jsonl("label.jsonl", row)
    assert read_samples(path, dataset="ch_cems") == [expected("")]
    assert read_samples(folder.root, dataset="ch_cems") == [expected(str(folder / "Raw/BV1/3.mp4"))]


def test_concepts_may_be_empty_but_not_absent(folder):
    path = folder.csv("label.csv", COLUMNS, [*ROW[:5], "", " happy", "", "", "", ""])
    (sample,) = read_samples(path, dataset="ch_cems")
    assert sample.concepts == (("expression", "happy"),) and sample.reasoning == ""
    path = folder.csv("label.csv", COLUMNS.replace("tone", "mood"), ROW)
    with pytest.raises(InputError, match="lacks the column tone"):
        read_samples(path, dataset="ch_cems")
    path = folder.jsonl("label.jsonl", {"video_id": "a", "clip_id": "1", "text": "", "label": 0, "mode": "train"})
    with pytest.raises(InputError, match="label.jsonl line 1 lacks the column tone, expression, speaking_style"):
        read_samples(path, dataset="ch_cems")
