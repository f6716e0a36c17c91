import pytest

from emsa_jax.data.readers import read_samples
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError

HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
TIMES = ["4", "7", "00:20:57,256", "00:21:00,049"]
FOLDERS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}


def row(text="Oh, no!", speaker="Phoebe", emotion="sadness", sentiment="negative", dialogue="0", utterance="1"):
    return ["1", text, speaker, emotion, sentiment, dialogue, utterance, *TIMES]


@pytest.mark.parametrize("nested", [False, True])
def test_all_parts(folder, nested):
    folder.csv("train/train_sent_emo.csv" if nested else "train_sent_emo.csv", HEADER, row())
    folder.csv("dev_sent_emo.csv", HEADER, row("Fine.", "Dr. Harad", "joy", "positive"))
    folder.csv("test_sent_emo.csv", HEADER, row("What?", "Monica", "neutral", "neutral"), row(dialogue="9"))
    places = {part: f"{part}/{name}" if nested else name for part, name in FOLDERS.items()}
    train, dev, test = (folder.clip(f"{places[part]}/dia0_utt1.mp4") for part in FOLDERS)
    again = folder.clip(f"{places['test']}/final_videos_testdia9_utt1.mp4")
    folder.clip(f"{places['test']}/dia9_utt1.mp4")
    assert read_samples(folder.root, dataset="meld") == [
        Sample("train_dia0_utt1", "Oh, no!", -1.0, "train", train, label="sadness", speaker="Phoebe"),
        Sample("dev_dia0_utt1", "Fine.", 1.0, "valid", dev, label="joy", speaker="Dr. Harad"),
        Sample("test_dia0_utt1", "What?", 0.0, "test", test, label="neutral", speaker="Monica"),
        Sample("test_dia9_utt1", "Oh, no!", -1.0, "test", again, label="sadness", speaker="Phoebe"),
    ]


def test_a_table_alone_is_text_only(folder):
    path = folder.csv("dev_sent_emo.csv", HEADER, row())
    (sample,) = read_samples(path, dataset="meld")
    assert (sample.video, sample.split) == ("", "valid")


def test_a_missing_clip_is_named(folder):
    folder.csv("train_sent_emo.csv", HEADER, row())
    folder.clip("train_splits/dia0_utt0.mp4")
    assert read_samples(folder.root, dataset="meld")[0].video == str(folder / "train_splits/dia0_utt1.mp4")


@pytest.mark.parametrize(
    "bad, complaint",
    [
        (row(sentiment="good"), "line 3: Sentiment 'good' is none of negative, neutral, positive"),
        (row(dialogue="../9"), "line 3: Dialogue_ID '../9' is not a file name"),
        (row(), "line 3: id 'train_dia0_utt1' was already given at .*line 2"),
    ],
)
def test_bad_rows(folder, bad, complaint):
    folder.csv("train_sent_emo.csv", HEADER, row(), bad)
    with pytest.raises(InputError, match=complaint):
        read_samples(folder.root, dataset="meld")


def test_no_table(folder):
    with pytest.raises(InputError, match="holds none of train_sent_emo.csv, dev_sent_emo.csv, test_sent_emo.csv"):
        read_samples(folder.root, dataset="meld")
