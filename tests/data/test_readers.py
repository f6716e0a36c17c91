import pytest

from emsa_jax.data.readers import read_samples
from emsa_jax.errors import InputError

MMSA = "video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode"
TABLE = "id,text,label,mode,video,audio"


def mmsa(root, *rows, header=MMSA):
    root.mkdir(exist_ok=True)
    (root / "label.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8-sig")
    return root


def table(root, *rows, header=TABLE):
    path = root / "clips.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_mmsa_rows(tmp_path):
    root = mmsa(
        tmp_path,
        'video_0001,0001,"我, 不想",-1.0,,,,Negative,train',
        "03bSnISJMiM,1,NA,0.2,,,,Positive,valid",
        "-HwX2H8Z4hY,7,None,,,,,,test",
    )
    (root / "Raw" / "03bSnISJMiM").mkdir(parents=True)
    (root / "Raw" / "03bSnISJMiM" / "0001.mp4").touch()
    first, second, third = read_samples(root, (-1, 1), "zh")
    assert (first.id, first.text, first.score, first.split) == (
        "video_0001$_$0001",
        "我, 不想",
        -1.0,
        "train",
    )
    assert first.language == "zh" and first.video == str(root / "Raw/video_0001/0001.mp4")
    assert second.text == "NA" and second.video.endswith("Raw/03bSnISJMiM/0001.mp4")
    assert third.text == "None" and third.score is None


def test_mmsa_columns_in_another_order(tmp_path):
    root = mmsa(tmp_path, "train,hello,v,3,-2.5", header="mode,text,video_id,clip_id,label")
    assert read_samples(root, (-3, 3), "en")[0].score == -2.5


def test_csv_of_an_mmsa_set_alone_is_text_only(tmp_path):
    root = mmsa(tmp_path, "v,1,hello,0.5,,,,,train")
    assert read_samples(root / "label.csv", (-1, 1), "en")[0].video == ""
    (root / "Raw").mkdir()
    assert read_samples(root / "label.csv", (-1, 1), "en")[0].video.endswith("Raw/v/1.mp4")


@pytest.mark.parametrize(
    "row, complaint",
    [
        ("v,1,hi,1.2,,,,,train", r"line 3: label 1.2 lies outside the score range \[-1, 1\]"),
        ("v,1,hi,nan,,,,,train", "line 3: label 'nan' is not a number"),
        ("v,1,hi,1²,,,,,train", "line 3: label '1²' is not a number"),
        ("v,1,hi,,,,,,train", "line 3: label is empty"),
        ("v,1,hi,0,,,,,extra", "line 3: mode 'extra' is none of train, valid, test"),
        ("u,1,hi,0,,,,,train", r"line 3: id 'u\$_\$1' was already given at .*line 2"),
        ("../v,1,hi,0,,,,,train", "line 3: video_id '../v' is not a file name"),
        ("v,1,hi, there,0,,,,,train", "line 3 has 10 cells, the header 9"),
    ],
)
def test_bad_rows_name_file_and_line(tmp_path, row, complaint):
    root = mmsa(tmp_path, "u,1,hi,0,,,,,train", row)
    with pytest.raises(InputError, match=complaint) as caught:
        read_samples(root, (-1, 1), "en")
    assert str(root / "label.csv") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_columns_and_files(tmp_path):
    with pytest.raises(InputError, match="lacks the column mode"):
        read_samples(mmsa(tmp_path, "v,1,hi,0", header="video_id,clip_id,text,label"), (-1, 1), "en")
    with pytest.raises(InputError, match="has no rows"):
        read_samples(mmsa(tmp_path), (-1, 1), "en")
    with pytest.raises(InputError, match="does not exist"):
        read_samples(tmp_path / "nowhere", (-1, 1), "en")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no label.csv"):
        read_samples(tmp_path / "empty", (-1, 1), "en")
    (tmp_path / "latin.csv").write_bytes(TABLE.encode() + b"\na,caf\xe9,0,train,,\n")
    with pytest.raises(InputError, match="not a utf-8 csv"):
        read_samples(tmp_path / "latin.csv", (-1, 1), "en")


def test_table(tmp_path):
    path = table(
        tmp_path,
        "a,hello,0.5,train,clips/a.mp4,,",
        "b,,-1,valid,,/sound/b.flac,zh",
        "c,words,,test,,,",
        header=TABLE + ",language",
    )
    a, b, c = read_samples(path, (-1, 1), "en")
    assert (a.video, a.audio, a.language) == (str(tmp_path / "clips/a.mp4"), "", "en")
    assert (b.video, b.audio, b.language) == ("", "/sound/b.flac", "zh")
    assert (c.video, c.audio, c.score) == ("", "", None)


def test_table_refuses_empty_rows_and_unknown_languages(tmp_path):
    with pytest.raises(InputError, match="line 2: text, video and audio are all empty"):
        read_samples(table(tmp_path, "a,,0,train,,"), (-1, 1), "en")
    with pytest.raises(InputError, match="line 2: language 'fr'"):
        read_samples(table(tmp_path, "a,x,0,train,,,fr", header=TABLE + ",language"), (-1, 1), "en")
