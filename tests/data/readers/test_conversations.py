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
        ('[{"video": [true]}]', "entry 1: video must be a text"),
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


def test_ids_that_several_videos_have_are_told_as_such(folder):
    entries = [entry("a.mp4", "sad", id="0"), entry("b.mp4", "happy", id="0"), entry("c.mp4", "calm", id="0#2")]
    samples = read_samples(folder.json("r1.json", entries), dataset="conversations")
    assert [s.id for s in samples] == ["0", "0#2", "0#2#2"]
    assert samples[1].guesses == ("an id that several videos have was numbered: id, id#2, id#3, ...",)


@pytest.mark.parametrize(
    "given",
    [
        {"video": ["a.mp4"], "conversations": [{"from": "gpt", "value": "sad"}]},
        {"videos": ["a.mp4"], "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "sad"}]},
        {"video": "a.mp4", "conversations": [{"role": "assistant", "content": "sad"}]},
    ],
)
def test_the_names_that_other_stacks_use(folder, given):
    (sample,) = read_samples(folder.json("r1.json", [given]), dataset="conversations")
    assert (sample.label, sample.id) == ("sad", "a")


def test_two_videos_in_one_entry(folder):
    path = folder.json("r1.json", [entry("a.mp4", "sad") | {"video": ["a.mp4", "b.mp4"]}])
    with pytest.raises(InputError, match="entry 1 has 2 videos"):
        read_samples(path, dataset="conversations")


@pytest.mark.parametrize(
    "answer, label, reasoning",
    [
        ("他眉头紧锁，声音低沉，看起来非常难过。", "", "他眉头紧锁，声音低沉，看起来非常难过。"),
        ("惊讶和愤怒", "惊讶和愤怒", ""),
        ("<Think>He weeps.</Think><Answer>sad</ANSWER>", "sad", "He weeps."),
        ("<think>He weeps and looks at the floor.</think>\nsad", "sad", "He weeps and looks at the floor."),
    ],
)
def test_classes_and_descriptions_in_other_forms(folder, answer, label, reasoning):
    (sample,) = read_samples(folder.json("r1.json", [entry("a.mp4", answer)]), dataset="conversations")
    assert (sample.label, sample.reasoning) == (label, reasoning)


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
