"""The MER challenges and what annotates their clips: MER2023, MER-Caption+, MERR, EMER, Emotion-LLaMA."""

from functools import partial

import pytest

from emsa_jax.data.data_options import ReadingOptions
from emsa_jax.data.readers import read_samples
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError

Chinese = partial(Sample, language="zh", score=None, split="train")


def test_mer2023_as_released(folder):
    folder.csv("mer2023train/train-label.csv", "name,discrete,valence", ["sample_00000001", "worried", "-1.174107"])
    folder.csv("test-labels/test1-label.csv", "name,discrete,valence", ["sample_00000002", "happy", "3"])
    folder.csv("test-labels/test3-label.csv", "name,discrete", ["samplenew_00000003", "neutral"])
    folder.csv("transcription.csv", "name,sentence", ["sample_00000001", "怎么办"])
    first, second, third, fourth = (
        folder.clip("mer2023train/train/sample_00000001.avi"),
        folder.clip("test1/sample_00000002.avi"),
        folder.clip("test3/samplenew_00000003.mp4"),
        folder.clip("test3/samplenew_00000009.mp4"),
    )
    labelled = [
        Sample("sample_00000001", "怎么办", -1.174107, "train", first, language="zh", label="worried"),
        Sample("sample_00000002", "", 3.0, "test", second, language="zh", label="happy"),
        Sample("samplenew_00000003", "", None, "test", third, language="zh", label="neutral"),
    ]
    assert read_samples(folder.root, dataset="mer2023") == labelled
    assert read_samples(folder.root, dataset="mer2023", reading=ReadingOptions(unlabelled=True)) == [
        *labelled,
        Chinese("samplenew_00000009", "", video=fourth),
    ]


def test_a_clip_in_two_folders_and_a_folder_that_may_not_be_read(folder, monkeypatch):
    folder.csv("train-label.csv", "name,discrete", ["a", "sad"])
    folder.clip("train/a.avi")
    first = folder.clip("video/a.mp4")
    assert read_samples(folder.root, dataset="mer2023")[0].video == first

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.listdir", refuse)
    with pytest.raises(InputError, match="video cannot be read: Permission denied"):
        read_samples(folder.root, dataset="mer2023")


def test_mer2025_track_1(folder):
    folder.csv("track1_train_disdim.csv", "name,discrete,valence", ["a", "angry", ""])
    folder.csv("track1_test_dis.csv", "name,discrete", ["b", "sad"])
    folder.csv("track_all_candidates.csv", "name", ["b"], ["c"])
    folder.csv("subtitle_chieng.csv", "name,chinese,english", ["a", "滚", "Go"], ["b", "唉", "Oh"])
    videos = [folder.clip(f"video/{name}.mp4") for name in "abc"]
    chinese = read_samples(folder.root, dataset="mer2023", reading=ReadingOptions(unlabelled=True))
    assert [(s.id, s.text, s.score, s.split, s.label, s.video) for s in chinese] == [
        ("a", "滚", None, "train", "angry", videos[0]),
        ("b", "唉", None, "test", "sad", videos[1]),
        ("c", "", None, "train", "", videos[2]),
    ]
    assert [s.text for s in read_samples(folder.root, language="en", dataset="mer2023")] == ["Go", "Oh"]


def test_mer_caption_plus(folder):
    folder.csv("track2_train_mercaptionplus.csv", "name,openset", ["a", "[happy, 'relieved']"], ["b", "[]"])
    folder.csv("track3_train_mercaptionplus.csv", "name,reason", ["b", "He waits."], ["a", "She smiles,\nat last."])
    folder.csv("subtitle_chieng.csv", "name,chinese,english", ["a", "终于", "At last"])
    first, second = folder.clip("video/a.mp4"), folder.clip("video/b.mp4")
    a = Chinese("a", "终于", video=first, label="happy, relieved", reasoning="She smiles,\nat last.")
    b = Chinese("b", "", video=second, label="neutral", reasoning="He waits.")
    assert {s.id: s for s in read_samples(folder.root, dataset="mer_caption_plus")} == {"a": a, "b": b}


def test_ov_merd(folder):
    path = folder.csv("track2_train_ovmerd.csv", "name,openset", ["a", "[sad]"])
    folder.csv("track3_train_ovmerd.csv", "name,reason", ["a", "He looks down."])
    folder.csv("track2_train_mercaptionplus.csv", "name,openset", ["x", "[happy]"])
    folder.csv("subtitle_chieng.csv", "name,chinese,english", ["a", "好吧", "Well"])
    (sample,) = read_samples(path, dataset="mer_caption_plus", reading=ReadingOptions(split="test"))
    assert sample == Sample("a", "好吧", None, "test", language="zh", label="sad", reasoning="He looks down.")


def test_merr(folder):
    folder.json(
        "MERR_coarse_grained.json",
        {
            "sample_1": {"AU_list": ["AU01"], "peak_index": "3", "pseu_emotion": "doubt", "caption": "A template."},
            "sample_2": {"caption": "Another."},
        },
    )
    folder.json(
        "MERR_fine_grained.json",
        {
            "sample_1": {"pseu_emotion": "worried", "smp_reason_caption": "He frowns.", "text": "So?", "peak_index": 3},
        },
    )
    folder.text("MERR_coarse_grained.txt", "sample_1 35 doubt\nsample_2 40 happy -2.5\n")
    video = folder.clip("video/sample_2.avi")
    missing = str(folder / "video/sample_1.mp4")
    assert read_samples(folder.root, dataset="merr") == [
        Chinese("sample_1", "So?", video=missing, label="worried", reasoning="He frowns."),
        Chinese("sample_2", "", score=-2.5, video=video, label="happy", reasoning="Another."),
    ]
    coarse = read_samples(folder / "MERR_coarse_grained.json", dataset="merr")
    assert [(s.label, s.reasoning) for s in coarse] == [("doubt", "A template."), ("happy", "Another.")]


def test_merr_without_an_explanation(folder):
    folder.json("MERR_fine_grained.json", {"sample_1": {"pseu_emotion": "sad"}})
    with pytest.raises(InputError, match="entry 'sample_1' has neither smp_reason_caption nor caption"):
        read_samples(folder.root, dataset="merr")


V1, V2 = "names,emotions,subtitles,reasons", "name,chinese,english"


def test_emer_v1(folder):
    folder.csv("gt-eng.csv", V1, ["sample_00000648", "angry", "Don't, no.", "He roared."])
    folder.csv("gt-chi.csv", V1, ["sample_00000648", "生气", "别说了。", "他怒吼。"])
    video = folder.clip("train/sample_00000648.mp4")
    chinese = Chinese("sample_00000648", "别说了。", video=video, label="生气", reasoning="他怒吼。")
    assert read_samples(folder.root, dataset="emer") == [chinese]
    english = Sample("sample_00000648", "Don't, no.", None, "train", video, label="angry", reasoning="He roared.")
    assert read_samples(folder / "gt-eng.csv", language="en", dataset="emer") == [english]


def test_emer_v2_and_both(folder):
    rows = ["s2", "他笑；", "He laughs."], ["s1", "他哭；", "He cries."]
    path = folder.csv("dataset-v2/final-EMER-reason.csv", V2, *rows)
    folder.csv("transcription-engchi-polish.csv", "name,chinese,english", ["s2", "哈哈", "Haha"])
    videos = {name: folder.clip(f"video/{name}.mp4") for name in ("s1", "s2", "s3")}
    two = Chinese("s2", "哈哈", video=videos["s2"], reasoning="他笑；")
    assert read_samples(folder.root, dataset="emer") == [two, Chinese("s1", "", video=videos["s1"], reasoning="他哭；")]
    folder.csv("dataset-v1/gt-chi.csv", V1, ["s1", "悲伤", "呜", "短"], ["s3", "高兴", "嘿", "好"])
    assert {s.id: s for s in read_samples(folder.root, dataset="emer")} == {
        "s2": two,
        "s1": Chinese("s1", "呜", video=videos["s1"], label="悲伤", reasoning="他哭；"),
        "s3": Chinese("s3", "嘿", video=videos["s3"], label="高兴", reasoning="好"),
    }
    folder.csv("dataset-v2/subtitle_chieng.csv", "name,chinese,english", ["s2", "哈哈", "Haha"])
    english = read_samples(path, language="en", dataset="emer", reading=ReadingOptions(split="test"))
    assert english[0] == Sample("s2", "Haha", None, "test", reasoning="He laughs.")


def test_emotion_llama(folder):
    folder.text("train.txt", "sample_1 35 angry -1.174107\n\nsample_2 12 fear\r\n")
    folder.text("val.txt", "sample_3 happy\n")
    folder.text("relative_test3_NCEV.txt", "sample_4 9 doubt\n")
    folder.json("train.json", {"sample_1": {"smp_reason_caption": "He shouts."}})
    folder.json("MERR_coarse_grained.json", {"sample_1": {"caption": "x"}, "sample_3": {"caption": "A smile."}})
    folder.csv("transcription_en_all.csv", "name,sentence", ["sample_1", "Stop"])
    videos = [folder.clip(f"video/sample_{i}.avi") for i in range(1, 5)]
    samples = read_samples(folder.root, language="en", dataset="emotion_llama")
    assert sorted(samples, key=lambda s: s.id) == [
        Sample("sample_1", "Stop", -1.174107, "train", videos[0], label="angry", reasoning="He shouts."),
        Sample("sample_2", "", None, "train", videos[1], label="fear"),
        Sample("sample_3", "", None, "valid", videos[2], label="happy", reasoning="A smile."),
        Sample("sample_4", "", None, "test", videos[3], label="doubt"),
    ]


def test_emotion_llama_in_the_folder_of_merr(folder):
    folder.text("MERR_coarse_grained.txt", "a 3 sad\nb 3 fear\n")
    folder.text("MERR_fine_grained.txt", "a 3 worried\n")
    labels = {s.id: s.label for s in read_samples(folder.root, dataset="emotion_llama")}
    assert labels == {"a": "worried", "b": "fear"}


BAD = {
    "mer2023": [
        ("train-label.csv", "name,discrete,valence\n../../x,sad,0\n", "line 2: name '../../x' is not a file name"),
        ("train-label.csv", "name,discrete,valence\nx,sad,inf\n", "line 2: valence 'inf' is not a number"),
        ("train-label.csv", "name,discrete,valence\nx,sad,9\n", r"line 2: valence 9 lies outside .*\[-5, 5\]"),
        ("train-label.csv", "name,discrete\nx,\n", "line 2: discrete is empty"),
        ("train-label.csv", "name,discrete\nx,sad\nx,sad\n", "line 3: id 'x' was already given at .*line 2"),
        ("other.csv", "", "holds none of train-label.csv, .*track1_test_dis.csv"),
    ],
    "mer_caption_plus": [
        ("track2_train_mercaptionplus.csv", "name,openset\na/b,[]\n", "line 2: name 'a/b' is not a file name"),
        ("track2_train_mercaptionplus.csv", "name,openset\na,[]\na,[]\n", "line 3: name 'a' was already given"),
        ("track3_train_mercaptionplus.csv", "name,why\na,b\n", "lacks the column reason"),
        ("other.csv", "", "holds none of track2_train_mercaptionplus.csv"),
    ],
    "merr": [
        ("MERR_fine_grained.json", '{"../a": {"caption": "x"}}', "entry '../a': name '../a' is not a file name"),
        ("MERR_fine_grained.json", '{"a": {"caption": 3.5e, "b"}}', "MERR_fine_grained.json line 1 is not json"),
        ("MERR_fine_grained.json", '{"a": {"caption": ["x"]}}', "entry 'a': caption must be a text"),
        ("MERR_fine_grained.json", '{"a": {"caption": "x"}, "a": 1}', "'a' is given twice"),
        ("MERR_fine_grained.json", '{"a": 1}', "entry 'a' must be a json object"),
        ("MERR_fine_grained.json", "[1]", "json must be a json object"),
        ("other.json", "", "holds none of MERR_fine_grained.json"),
    ],
    "emer": [
        ("gt-chi.csv", V1 + "\n../x,a,b,c\n", "line 2: names '../x' is not a file name"),
        ("gt-chi.csv", V1 + "\nx,a,b,c\nx,a,b,c\n", "line 3: names 'x' was already given"),
        ("final-EMER-reason.csv", "name,english\nx,y\n", "lacks the column chinese"),
        ("other.csv", "", "holds neither gt-chi.csv nor final-EMER-reason.csv"),
    ],
    "emotion_llama": [
        ("train.txt", "a sad\nb\n", "train.txt line 2 is neither `name emotion` nor"),
        ("train.txt", "a sad -0.5\n", "train.txt line 1 is neither"),
        ("train.txt", "../a sad\n", "line 1: name '../a' is not a file name"),
        ("train.txt", "a sad\na sad\n", "line 2: name 'a' was already given at .*line 1"),
        ("train.txt", "a 3 sad inf\n", "line 1: valence 'inf' is not a number"),
        ("other.csv", "", "holds no .txt"),
    ],
}


@pytest.mark.parametrize("dataset, name, content, complaint", [(d, *case) for d in BAD for case in BAD[d]])
def test_bad_labels(folder, dataset, name, content, complaint):
    folder.text(name, content)
    with pytest.raises(InputError, match=complaint) as caught:
        read_samples(folder.root, dataset=dataset)
    assert "\n" not in str(caught.value)


def test_labels_without_words_or_clips(folder):
    path = folder.csv("train-label.csv", "name,discrete", ["x", "sad"])
    with pytest.raises(InputError, match="has labels alone"):
        read_samples(path, dataset="mer2023")
