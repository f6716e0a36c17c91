import pytest

from emsa_jax.data.data_options import ReadingOptions
from emsa_jax.data.readers import read_samples
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError

ASK = {"from": "human", "value": "<video>\n<audio>\nWhich emotion is the most obvious?"}


def entry(video, *answers, **more):
    turns = [turn for answer in answers for turn in (ASK, {"from": "gpt", "value": answer})]
    return {"video": video, "conversations": turns, **more}


def test_classes_reasons_and_descriptions(folder):
    description = "A man stands by the window and smiles."
    rows = [
        entry("DFEW/videos/1.mp4", "sad"),
        entry("MER24/sample_2.mp4", "<think>He paces.\nHis voice shakes.</think>\n<answer>anxious</answer>"),
        entry("MAFW/3.mp4", "anger, disgust", id="third"),
        entry("MAFW/4.mp4", "no", description, id=4),
    ]
    folder.json("dfew_train.json", rows[:2])
    folder.jsonl("mafw-test.jsonl", *rows[2:])
    first = folder.clip("DFEW/videos/1.mp4")
    at = [first, *(str(folder / name) for name in ("MER24/sample_2.mp4", "MAFW/3.mp4", "MAFW/4.mp4"))]
    assert read_samples(folder.root, dataset="conversations") == [
        Sample("DFEW/videos/1", "", None, "train", at[0], label="sad"),
        Sample("MER24/sample_2", "", None, "train", at[1], label="anxious", reasoning="He paces.\nHis voice shakes."),
        Sample("third", "", None, "test", at[2], label="anger, disgust"),
        Sample("4", "", None, "test", at[3], reasoning=description),
    ]
    assert (
        read_samples(folder / "dfew_train.json", dataset="conversations", reading=ReadingOptions(split="test"))[0].split
        == "train"
    )


def test_paths_of_another_machine_are_looked_up_below_the_source(folder):
    path = folder.json("r1.json", [entry("/mnt/someone/data/DFEW/videos/1.mp4", "sad"), entry("/mnt/gone.mp4", "sad")])
    first, second = read_samples(path, dataset="conversations", reading=ReadingOptions(split="valid"))
    assert first.video == "/mnt/someone/data/DFEW/videos/1.mp4"
    assert (second.id, second.video, second.split) == ("mnt/gone", "/mnt/gone.mp4", "valid")
    there = folder.clip("DFEW/videos/1.mp4")
    assert read_samples(path, dataset="conversations")[0].video == there


@pytest.mark.parametrize(
    "content, complaint",
    [
        ("{}", "must hold a json array"),
        ("[3]", "entry 1 must be a json object"),
        ('[{"conversations": []}]', "entry 1 lacks the field video"),
        ('[{"video": ["a.mp4"]}]', "entry 1: video must be a text"),
        ('[{"video": "a.mp4"}]', "entry 1: conversations must be a list of objects"),
        ('[{"video": "a.mp4", "conversations": [1]}]', "entry 1: conversations must be a list of objects"),
        ('[{"video": "a.mp4", "conversations": [{"from": "human", "value": "?"}]}]', "hold no answer from gpt"),
        ('[{"video": "a.mp4", "conversations": [{"from": "gpt", "value": 3}]}, 1]', "entry 2 must be a json object"),
        ('[{"video": "../../a.mp4", "conversations": [{"from": "gpt", "value": "sad"}]}]', "climbs out of its folder"),
        ('[{"video": "a.mp4", "conversations": [{"from": "gpt", "value": "\\ud83d"}]}]', "half a character"),
        ('[{"video": "a\\u0000.mp4", "conversations": [{"from": "gpt", "value": "sad"}]}]', "printable"),
        ("[" * 100_000, "is nested too deeply"),
        ("", "line 1 is not json"),
    ],
)
def test_bad_entries(folder, content, complaint):
    path = folder.text("r1.json", content)
    with pytest.raises(InputError, match=complaint) as caught:
        read_samples(path, dataset="conversations")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_several_questions_about_one_video_are_several_samples(folder):
    path = folder.json(
        "r1.json", [entry("a.mp4", "sad"), entry("b.mp4", "sad"), entry("a.mp4", "A man sits down and cries.")]
    )
    samples = read_samples(path, dataset="conversations")
    assert [(s.id, s.label, s.reasoning) for s in samples] == [
        ("a", "sad", ""),
        ("b", "sad", ""),
        ("a#2", "", "A man sits down and cries."),
    ]
    assert [len(s.guesses) for s in samples] == [0, 0, 1] and samples[0].video == samples[2].video
    own = folder.json("own.json", [entry("a.mp4", "sad", id="x"), entry("a.mp4", "happy", id="x")])
    assert [s.id for s in read_samples(own, dataset="conversations")] == ["x", "x#2"]


def test_of_several_answers_in_one_conversation_the_last_is_read_and_told(folder):
    path = folder.json("r1.json", [entry("a.mp4", "He looks down.", "sad")])
    (sample,) = read_samples(path, dataset="conversations")
    assert sample.label == "sad" and sample.guesses == ("of several answers in one conversation the last was read",)


def test_paths_of_windows(folder):
    there = folder.clip("DFEW/videos/1.mp4")
    rows = [entry("DFEW\\videos\\1.mp4", "sad"), entry("D:\\data\\DFEW\\videos\\1.mp4", "sad")]
    first, second = read_samples(folder.json("r1.json", rows), dataset="conversations")
    assert (first.video, first.id, second.video) == (there, "DFEW/videos/1", there)
    assert first.guesses == ("backslashes in a path were read as slashes",)
    assert second.guesses == ("a path of another machine was looked up by its last parts",)


def test_a_directory_without_any(folder):
    with pytest.raises(InputError, match="holds no .json or .jsonl of conversations"):
        read_samples(folder.root, dataset="conversations")
