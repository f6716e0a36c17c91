import pytest

from emsa_jax.data.data_options import ReadingOptions
from emsa_jax.data.readers import read_samples
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError

MMSA = "video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode"
FIRST = ["video_0001", "0001", "我不想去", "-1.0", "-1.0", "0.0", "-0.8", "Negative", "train"]
SECOND = ["video_0002", "0003", "很好，真的", "0.4", "", "", "", "Positive", "valid"]


UNIMODAL = (("label_T", "-1.0"), ("label_A", "0.0"), ("label_V", "-0.8"))


def expected(folder, unimodal=UNIMODAL):
    """What each modality alone says is kept of a clip that has a number for all three."""
    first, second = folder.clip("Raw/video_0001/0001.mp4"), folder.clip("Raw/video_0002/0003.mp4")
    return [
        Sample("video_0001$_$0001", "我不想去", -1.0, "train", first, language="zh", concepts=unimodal),
        Sample("video_0002$_$0003", "很好，真的", 0.4, "valid", second, language="zh"),
    ]


@pytest.mark.parametrize("dataset", ["ch_sims", "ch_sims_v2"])
def test_new_layout(folder, dataset):
    folder.csv("meta.csv" if dataset == "ch_sims_v2" else "label.csv", MMSA, FIRST, SECOND)
    assert read_samples(folder.root, dataset=dataset) == expected(folder)


@pytest.mark.parametrize("dataset, language", [("cmu_mosi", "en"), ("cmu_mosei", "en")])
def test_sets_know_their_range_and_language(folder, dataset, language):
    header = "video_id,clip_id,text,label,annotation,mode,label_T,label_A,label_V"
    folder.csv("label.csv", header, ["-HwX2H8Z4hY", "7", "VERY GOOD", "2.4", "Positive", "test", "", "", ""])
    video = folder.clip("Raw/-HwX2H8Z4hY/7.mp4")
    assert read_samples(folder.root, dataset=dataset) == [
        Sample("-HwX2H8Z4hY$_$7", "VERY GOOD", 2.4, "test", video, language=language)
    ]
    with pytest.raises(InputError, match=r"label 2.4 lies outside the score range \[-1, 1\]"):
        read_samples(folder.root, (-1, 1), dataset=dataset)


def test_copies_without_column_names(folder):
    folder.csv("label.csv", "", FIRST, SECOND)
    assert read_samples(folder.root, dataset="ch_sims") == expected(folder)


def test_a_clip_of_another_kind_is_found(folder):
    folder.csv("label.csv", MMSA, FIRST)
    video = folder.clip("Raw/video_0001/0001.mkv")
    assert read_samples(folder.root, dataset="ch_sims")[0].video == video


def release(folder, train=("1",), val=("0",), test=(), label="0.4"):
    rows = ["video_0002", "3", label], ["video_0001", "1", "-1"]
    folder.csv("metadata/sentiment/label_M.csv", "video_id,clip_id,label", *rows)
    for name, index in (("train", train), ("val", val), ("test", test)):
        folder.csv(f"metadata/{name}_index.csv", "index", *([i] for i in index))
    folder.csv(
        "metadata/Translation.csv",
        "video_id,clip_id,Chinese,English",
        ["video_0001", "0001", "我不想去", "I won't"],
        ["video_0002", "0003", "很好，真的", "good"],
    )
    return folder.root


def test_first_release(folder):
    assert read_samples(release(folder), dataset="ch_sims") == expected(folder, ())[::-1]
    assert [s.text for s in read_samples(folder.root, language="en", dataset="ch_sims")] == ["good", "I won't"]


@pytest.mark.parametrize(
    "change, complaint",
    [
        ({"val": ()}, "label_M.csv line 2 is row 0, which none of the index files in"),
        ({"val": ("0", "1")}, "val_index.csv line 3: index 1 is in train already"),
        ({"test": ("2",)}, "test_index.csv line 2: index 2 is no row of label_M.csv, which has 2"),
        ({"test": ("0.5",)}, "test_index.csv line 2: index 0.5 is no row"),
        ({"test": ("x",)}, "test_index.csv line 2: index 'x' is not a number"),
        ({"label": ""}, "label_M.csv line 2: label is empty"),
        ({"label": "nan"}, "label_M.csv line 2: label 'nan' is not a number"),
    ],
)
def test_first_release_with_flaws(folder, change, complaint):
    with pytest.raises(InputError, match=complaint):
        read_samples(release(folder, **change), dataset="ch_sims")


def test_first_release_without_words(folder):
    release(folder)
    folder.csv("metadata/Translation.csv", "video_id,clip_id,Chinese,English", ["video_0001", "1", "我不想去", "no"])
    with pytest.raises(InputError, match="line 2: clip video_0002/0003 is not in .*Translation.csv"):
        read_samples(folder.root, dataset="ch_sims")


def test_unlabelled_parts_of_v2_are_read_if_asked_for(folder):
    unlabelled = ["aqgy3", "9", "谁知道", "", "", "", "", "", "unlabeled"]
    folder.csv("meta(s).csv", MMSA, FIRST, unlabelled)
    folder.csv("meta(u).csv", "video_id,clip_id,text", ["aqgy4", "0010", "也许"])
    assert [s.id for s in read_samples(folder.root, dataset="ch_sims_v2")] == ["video_0001$_$0001"]
    _, third, fourth = read_samples(folder.root, dataset="ch_sims_v2", reading=ReadingOptions(unlabelled=True))
    video = str(folder / "Raw/aqgy3/9.mp4")
    assert third == Sample("aqgy3$_$9", "谁知道", None, "train", video, language="zh")
    assert fourth == Sample("aqgy4$_$0010", "也许", None, "train", str(folder / "Raw/aqgy4/0010.mp4"), language="zh")
    assert read_samples(folder / "meta(u).csv", dataset="ch_sims_v2") == [
        Sample("aqgy4$_$0010", "也许", None, "train", language="zh")
    ]
