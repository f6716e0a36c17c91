"""What is told of a set: by split and class, what splits share, what was guessed, what labels cannot teach."""

import numpy as np
import pytest

from emsa_jax.data.findings import findings, overlap_lines, overlaps
from emsa_jax.data.outliers import SILENT
from emsa_jax.data.records import Entry
from emsa_jax.data.sample import Sample

WORDS = ("rain", "sun", "snow", "wind", "fog", "ice", "hail", "storm", "heat", "frost", "dew", "mist")
SCORES = (-3.0, 3.0, -2.0, 2.0, -1.0, 1.0, 0.0, 0.5, -0.5, 2.5, -2.5, 1.5)


def clip(id, text, score=0.0, split="train", **given):
    media = {"num_frames": 4, "height": 28, "width": 28, "frame_rate": 1.0, "mel_frames": 400, "source": id}
    return Entry(id, text, score, split, "en", **(media | given))


def sound_set(**given):
    """Twelve clips of train and twelve of test that share nothing."""
    train = [clip(f"a{i}", f"{w} at home", s) for i, (w, s) in enumerate(zip(WORDS, SCORES, strict=True))]
    test = [clip(f"b{i}", f"{w} abroad", s, "test") for i, (w, s) in enumerate(zip(WORDS, SCORES, strict=True))]
    return train + test


def found(entries, lost=(), score_range=(-3.0, 3.0), reasons=None, unnamed=(0, ())):
    samples = [Sample(e.id, e.text, e.score, e.split, label=e.label) for e in entries] + list(lost)
    return findings(samples, entries, reasons or {s.id: "video: no" for s in lost}, score_range, unnamed)


def change(entries, split, **fields):
    return [Entry(**{**vars(e), **fields}) if e.split == split else e for e in entries]


def test_a_sound_set_is_told_without_a_word():
    told = found(sound_set())
    assert told["said"] == [] and told["overlaps"] == []
    assert told["splits"]["train"] == {
        "kept": 12,
        "quarantined": 0,
        "classes": {"Positive": [6, 0], "Negative": [5, 0], "Neutral": [1, 0]},
        "scores": {"0": -3.0, "0.25": -2.0, "0.5": 0.0, "0.75": 1.5, "1": 3.0},
    }


def test_what_was_quarantined_is_counted_by_split_class_and_reason():
    lost = [Sample("x1", "", -1.0, "train"), Sample("x2", "", 0.0, "valid"), Sample("x3", "", None, "test")]
    reasons = {"x1": "there is no file /a/1.mp4", "x2": "there is no file /a/22.mp4", "x3": "sound: 3 of 5 s"}
    told = found(sound_set(), lost, reasons=reasons)
    assert told["splits"]["train"]["classes"]["Negative"] == [5, 1] and told["splits"]["valid"]["quarantined"] == 1
    assert told["splits"]["test"]["classes"]["unlabelled"] == [0, 1]
    assert told["reasons"] == {"there is no file ...": 2, "sound: N of N s": 1}
    assert [line for line in told["said"] if line.startswith("warning")] == [
        "warning: all clips of valid (1) were quarantined: valid is empty"
    ]


def test_classes_in_two_spellings_are_told():
    entries = sound_set()
    mixed = [Entry(**{**vars(e), "label": ("Happy", "happy", "sad")[i % 3]}) for i, e in enumerate(entries)]
    expected = "warning: Happy and happy count as classes of their own; if one is meant, spell it in one way"
    assert [line for line in found(mixed)["said"] if "spell" in line] == [expected]


def test_a_class_that_is_lost_or_unknown_to_train():
    entries = change(sound_set(), "train", label="sad")[:6] + change(sound_set(), "test", label="happy")[12:]
    told = found(entries, [Sample("x", "", None, "train", label="angry")])["said"]
    assert "warning: all clips of class angry in train (1) were quarantined: it has none of them now" in told
    assert "warning: test has clips of class happy, of which train has none" in told
    assert sum("are of one class" in line for line in told) == 2


@pytest.mark.parametrize(
    "fields, by, shared",
    [
        ({"text": "Rain, at home!", "source": "", "num_frames": 0, "frame_rate": 0.0, "mel_frames": 0}, "words", 12),
        ({"source": "a3"}, "media", 12),
        ({"speaker": "Bob"}, "speaker", 12),
    ],
)
def test_what_splits_share_is_told(fields, by, shared):
    entries = change(sound_set(), "test", **fields)
    if by == "speaker":
        entries = change(entries, "train", speaker="bob")
    told = found(entries)
    one = next(o for o in told["overlaps"] if o["by"] == by)
    assert (one["of"], one["with"], one["clips"], one["among"]) == ("test", "train", shared, 12)
    assert any(line.startswith("warning: of the 12 clips of test, 12 have the ") for line in told["said"])


def test_ids_say_which_video_clips_are_of():
    entries = [Entry(**{**vars(e), "id": f"video{i % 12}$_${e.id}"}) for i, e in enumerate(sound_set())]
    assert [(o["by"], o["clips"]) for o in found(entries)["overlaps"]] == [("video", 12)]


def test_words_that_recur_with_other_faces_are_a_note():
    entries = [*sound_set()[:-1], clip("b11", "rain AT HOME", 1.5, "test")]
    assert [line[:57] for line in found(entries)["said"]] == [
        "note: of the 12 clips of test, 1 have the words of clips o"[:57]
    ]


def test_between_sets_the_same_rules_hold():
    groups = [("mosi (train)", sound_set()[:12]), ("mosei (test)", [clip("z", "new", source="a1"), clip("y", "")])]
    (one,) = overlaps(groups)
    assert (one["by"], one["clips"], one["among"], one["examples"]) == ("media", 1, 2, ["z"])
    assert overlap_lines([one])[0].startswith("warning: of the 2 clips of mosei (test), 1 have the media file of clips")


def test_odd_clips_and_guesses_are_counted():
    entries = change(sound_set(), "test", notes=(SILENT, "mode val was read as valid"))
    entries[0] = Entry(**{**vars(entries[0]), "notes": (SILENT,)})
    told = found(entries)
    assert told["notes"][0] == {
        "note": SILENT,
        "odd": True,
        "splits": {"train": 1, "test": 12},
        "examples": ["a0", "b0", "b1"],
    }
    assert told["said"] == [
        f"warning: 13 clips (1 train, 12 test; a0, ...): {SILENT}",
        "note: 12 clips (12 test; b0, ...): mode val was read as valid",
    ]


def test_clips_that_repeat_and_contradict():
    entries = sound_set()
    again = [clip("c1", "rain at home", -3.0, source="a0"), clip("c2", "Rain at home", 3.0, source="a0")]
    told = found([*entries, *again])
    assert told["repeated"] == {"clips": 2, "other_labels": 1, "examples": [["c1", "a0"], ["c2", "a0"]]}
    assert (
        "warning: 2 clips repeat another of their split, such as c1, which is a0 again, 1 of them with"
        in told["said"][0]
    )
    silent = [clip(f"q{i}", "", None, source="v", label=str(i)) for i in range(3)]  # that only a question tells apart
    assert found(entries + silent)["repeated"] == {
        "clips": 2,
        "other_labels": 2,
        "examples": [["q1", "q0"], ["q2", "q0"]],
    }
    parts = [Sample(e.id, "", None, "train", label=e.label, start=float(i)) for i, e in enumerate(silent)]
    assert findings(parts, silent, {}, (-1.0, 1.0))["repeated"]["clips"] == 0  # of one film


@pytest.mark.parametrize(
    "scores, corner",
    [
        (np.linspace(-1, 1, 24), True),
        (np.linspace(0, 3, 24), True),
        (np.full(24, 2.0), True),
        (np.linspace(-2, 2, 24), False),
        (np.linspace(-1, 3, 24), False),
    ],
)
def test_labels_in_a_corner_of_their_range(scores, corner):
    entries = [Entry(**{**vars(e), "score": float(s)}) for e, s in zip(sound_set(), scores, strict=True)]
    said = [line for line in found(entries)["said"] if "a corner of the score range [-3, 3]" in line]
    assert len(said) == corner
    assert not any("corner" in line for line in found(entries[:3])["said"])


def test_files_that_no_row_names():
    assert found(sound_set(), unnamed=(4, ["Raw/a.mp4", "b.wav"]))["said"] == [
        "note: 4 media files beside the clips, named by no row, such as Raw/a.mp4, b.wav"
    ]
