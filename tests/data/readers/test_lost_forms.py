"""What spreadsheets, other systems and official files do to ids, paths, numbers and times: read where just one thing
can be meant, which is noted, and refused with the reason elsewhere."""

import os

import pytest

from emsa_jax.data import labels_csv
from emsa_jax.data.data_options import ReadingOptions
from emsa_jax.data.readers import read_samples
from emsa_jax.errors import InputError

HEADER = "id,text,label,mode,video,start,end"
MMSA = "video_id,clip_id,text,label,mode"


def plain(folder, header=HEADER, separator=",", encoding="utf-8", prefix="", newline="\n", **cells):
    """The one sample of a table with a row of these cells."""
    row = {
        "id": "a",
        "text": "x",
        "label": "0.5",
        "mode": "train",
        "video": "media/ok.mp4",
        "start": "",
        "end": "",
    } | cells
    lines = (
        prefix
        + newline.join([header.replace(",", separator), separator.join(row[n] for n in header.split(","))])
        + newline
    )
    (sample,) = read_samples(folder.text("clips.csv", lines, encoding))
    return sample


def mmsa(folder, *ids, dataset="cmu_mosi"):
    folder.csv("label.csv", MMSA, *([*id, "x", "0.5", "train"] for id in ids))
    return read_samples(folder.root, dataset=dataset)


# ---- ids of the MMSA layout ----


@pytest.mark.parametrize(
    "cell, files, id",
    [
        ("2.0", ["0002"], "0002"),
        ("2.0", ["2"], "2"),
        ("2", ["0002"], "2"),  # as it always was
        ("2", ["00002"], "00002"),
        ("1E+05", ["100000"], "100000"),
        ("1.5E+03", ["1500", "15"], "1500"),
        ('="0002"', ["0002"], "0002"),
        ("'0002", ["0002"], "0002"),
        ("\u200b0002\u00a0", ["0002"], "0002"),
        ("0002.mp4", ["0002"], "0002"),
        ("Clip", ["clip"], "clip"),
    ],
)
def test_a_clip_id_that_lost_its_form_finds_the_one_file_it_can_mean(folder, cell, files, id):
    for name in files:
        folder.clip(f"Raw/v/{name}.mp4")
    (sample,) = mmsa(folder, ("v", cell))
    assert sample.video == str(folder / f"Raw/v/{files[0]}.mp4") and sample.id == f"v$_${id}"
    assert len(sample.guesses) == 1


def test_a_clip_id_as_it_should_be_is_no_guess(folder):
    folder.clip("Raw/v/0002.mp4")
    assert mmsa(folder, ("v", "0002"))[0].guesses == ()


@pytest.mark.parametrize("cell, name", [("101787.0", "101787"), ("1.01787E+05", "101787"), ("abc", "ABC")])
def test_a_video_id_that_lost_its_form(folder, cell, name):
    folder.clip(f"Raw/{name}/1.mp4")
    (sample,) = mmsa(folder, (cell, "1"), dataset="cmu_mosei")
    assert (sample.id, sample.video) == (f"{name}$_$1", str(folder / f"Raw/{name}/1.mp4"))


@pytest.mark.parametrize(
    "video_id, clip_id, files, complaint",
    [
        ("v", "2.0", ["02", "0002x", "002"], "line 2: clip_id '2.0' may mean 002 or 02; say which"),
        ("v", "1E+05", ["1"], "line 2: clip_id '1E.05' is a number that a spreadsheet has rewritten"),
        ("1.02E+05", "1", [], "line 2: video_id '1.02E.05' is a number that a spreadsheet has rewritten"),
        ("#NAME?", "1", [], "line 2: video_id '#NAME[?]' is the error value of a spreadsheet"),
        ("v", "#REF!", [], "line 2: clip_id '#REF!' is the error value"),
        ("v", "#BEZUG!", [], "line 2: clip_id '#BEZUG!' is the error value"),
        ("v", "########", [], "line 2: clip_id '########' is the error value"),
        ("", "1", [], "line 2: video_id '' is not a file name; of merged cells, only the first holds the value"),
        ("v", "01/02/2024", [], "line 2: clip_id .* is not a file name; a spreadsheet seems to have made a date"),
    ],
)
def test_ids_that_may_mean_several_files_or_none_are_refused(folder, video_id, clip_id, files, complaint):
    for name in ("other", *files):
        folder.clip(f"Raw/v/{name}.mp4")
    with pytest.raises(InputError, match=complaint):
        mmsa(folder, (video_id, clip_id))


def test_words_alone_keep_their_ids_and_refuse_rewritten_ones(folder):
    path = folder.csv("label.csv", MMSA, ["v", "2", "x", "0", "train"])
    assert read_samples(path)[0].id == "v$_$2"
    with pytest.raises(InputError, match="rewritten"):
        read_samples(folder.csv("label.csv", MMSA, ["v", "1E+05", "x", "0", "train"]))


# ---- ids, paths and cells of a plain table ----

BACKSLASH = "backslashes in a path were read as slashes"
SPELLING = "a name was found in another spelling: capital letters, accents, or without its suffix"


@pytest.mark.parametrize(
    "cell, guess",
    [
        ("media/ok.mp4", None),
        ("media\\ok.mp4", BACKSLASH),
        (".\\media\\ok.mp4", BACKSLASH),
        ("C:\\Users\\me\\media\\ok.mp4", "a path of another machine was looked up by its last parts"),
        ("media/OK.MP4", SPELLING),
        ("media/ok", SPELLING),
        ("media/ok.mp4  ", None),
    ],
)
def test_paths(folder, cell, guess):
    path = folder.clip("media/ok.mp4")
    sample = plain(folder, video=cell)
    assert os.path.normpath(sample.video) == path and sample.guesses == ((guess,) if guess else ())


def test_accents_in_two_parts(folder):
    path = folder.clip("media/caf\u00e9.mp4")
    assert plain(folder, video="media/cafe\u0301.mp4").video == path


def test_a_file_whose_name_holds_a_backslash_is_that_file(folder):
    path = folder.clip("media\\ok.mp4")
    sample = plain(folder, video="media\\ok.mp4")
    assert sample.video == path and not sample.guesses


def test_two_spellings_are_none(folder):
    folder.clip("media/Ok.mp4"), folder.clip("media/oK.mp4")
    sample = plain(folder, video="media/ok.mp4")
    assert sample.video == str(folder / "media/ok.mp4") and not sample.guesses  # prepare sets it aside


@pytest.mark.parametrize(
    "cells, complaint",
    [
        ({"id": "#NAME?"}, "line 2: id '#NAME[?]' is the error value of a spreadsheet"),
        ({"text": "#VALUE!"}, "line 2: text '#VALUE!' is the error value of a spreadsheet"),
        ({"label": "#N/A"}, "line 2: label '#N/A' is the error value of a spreadsheet"),
        ({"id": "1E+05"}, "line 2: id '1E.05' is a number that a spreadsheet has rewritten"),
        ({"id": '"1,2E+10"'}, "line 2: id '1,2E.10' is a number that a spreadsheet has rewritten"),
        ({"label": "negative"}, "line 2: label 'negative' is not a number but a word; .* into a column class"),
        ({"label": "积极"}, "line 2: label '积极' is not a number but a word"),
        ({"label": "2-Jan"}, "line 2: label '2-Jan' is not a number; a spreadsheet seems to have made a date of it"),
        (
            {"label": "-10"},
            r"label -10 lies outside .*--config.score_range .*if it stands for none, leave the cell empty",
        ),
        ({"label": "4"}, r"label 4 lies outside the score range \[-1, 1\]; .*--config.score_range"),
        ({"label": "None"}, "line 2: label 'None' is not a number, that is, none, which only rows of mode test may be"),
        ({"start": "1,234"}, None),
    ],
)
def test_refusals(folder, cells, complaint):
    if complaint is None:  # which may be 1234 s as well
        with pytest.raises(InputError, match="start '1,234' has two meanings; write 1.234 or without ,"):
            plain(folder, separator=";", **cells)
        return
    with pytest.raises(InputError, match=complaint):
        plain(folder, **cells)


@pytest.mark.parametrize(
    "cells, read",
    [
        ({"label": "0,5"}, {"score": 0.5}),
        ({"label": "-0,333"}, {"score": -0.333}),
        ({"label": "０．５"}, {"score": 0.5}),
        ({"label": "\u22120.5"}, {"score": -0.5}),
        ({"label": "'0.5"}, {"score": 0.5}),
        ({"label": "0.5\u200b"}, {"score": 0.5}),
        ({"label": "n/a", "mode": "test"}, {"score": None, "split": "test"}),
        ({"mode": "dev"}, {"split": "valid"}),
        ({"mode": "training"}, {"split": "train"}),
        ({"id": "'0002"}, {"id": "0002"}),
        ({"id": '="0002"'}, {"id": "0002"}),
        ({"start": "-0.4876", "end": "1.5"}, {"start": 0.0, "end": 1.5}),
        ({"start": "00:01:02,5", "end": "1:04"}, {"start": 62.5, "end": 64.0}),
        ({"text": "it\x92s"}, {"text": "it’s"}),
        ({"text": "it\ufffds"}, {"text": "it\ufffds"}),
    ],
)
def test_cells_that_are_read_and_noted(folder, cells, read):
    sample = plain(folder, separator=";", **cells)
    assert {name: getattr(sample, name) for name in read} == read
    assert len(sample.guesses) == len({"start", "end"} & cells.keys() if "00" in cells.get("start", "") else [1])


@pytest.mark.parametrize(
    "layout",
    [
        {"encoding": "utf-8-sig", "separator": ";", "newline": "\r\n"},
        {"encoding": "utf-16", "separator": "\t", "newline": "\r\n"},
        {"newline": "\r"},
        {"separator": ";", "prefix": "sep=;\r\n", "newline": "\r\n"},
        {"header": "id,text,label,mode,video"},
    ],
)
def test_what_a_spreadsheet_saves(folder, layout):
    folder.clip("media/ok.mp4")
    assert plain(folder, **layout) == plain(folder) and not plain(folder, **layout).guesses


@pytest.mark.parametrize(
    "start, end, seconds",
    [
        ("1500ms", "2500 ms", (1.5, 2.5)),
        ("1.5s", "2,5 s", (1.5, 2.5)),
        ("00:00:01,5", "0:01:02", (1.5, 62.0)),
        ("59:59", "1:00:00.5", (3599.0, 3600.5)),
    ],
)
def test_times_with_units(folder, start, end, seconds):
    folder.clip("media/ok.mp4")
    sample = plain(folder, separator=";", start=start, end=end)
    assert (sample.start, sample.end) == seconds and sample.guesses


@pytest.mark.parametrize(
    "start, end", [("00:75", "2:00"), ("0:00:01", "0:61:00"), ("00:00:60", "0:02:00"), ("1h", "2h")]
)
def test_times_that_are_none(folder, start, end):
    with pytest.raises(InputError, match="clips.csv line 2: (start|end) .* is (no time|not a number)"):
        plain(folder, start=start, end=end)


@pytest.mark.parametrize("cell", ["media/2.0", "media/2", "media/0002", "media/2.0.mp4", "media/02.mp4", "media\\2.0"])
def test_a_number_in_the_column_of_media(folder, cell):
    path = folder.clip("media/0002.mp4")
    folder.clip("media/12.mp4")
    sample = plain(folder, video=cell)
    assert sample.video == path and sample.guesses


def test_a_number_that_may_mean_two_files_means_none(folder):
    folder.clip("media/0002.mp4"), folder.clip("media/2.avi")
    assert not os.path.exists(plain(folder, video="media/2.0").video)


def test_paths_as_urls_and_of_the_home(folder, monkeypatch):
    path = folder.clip("media/ok.mp4")
    monkeypatch.setenv("HOME", str(folder.root))
    for cell in (f"file://{path}", "~/media/ok.mp4"):
        sample = plain(folder, video=cell)
        assert sample.video == path and sample.guesses == (
            "a path with file:// or ~ was read as that of a file of this machine",
        )


def test_ids_in_two_unicode_forms_are_one(folder):
    rows = "café,x,0.5,train,,,\ncafe\u0301,y,0.5,train,,,\n"
    with pytest.raises(InputError, match="line 3: id .* was already given at .* line 2"):
        read_samples(folder.text("clips.csv", HEADER + "\n" + rows))


@pytest.mark.parametrize(
    "text, said",
    [
        ("it&#39;s R&amp;B", "HTML"),
        ("itâ€™s", "wrong encoding"),
        ("cafÃ©", "wrong encoding"),
        ("R&B; it’s a café, Ã la carte", ""),
        ("我不想嫁给李茶", ""),
    ],
)
def test_words_that_lost_their_form_are_noted(folder, text, said):
    guesses = plain(folder, separator="\t", text=text).guesses
    assert len(guesses) == bool(said) and all(said in guess for guess in guesses)


def test_rows_of_a_spreadsheet(folder):
    """Empty rows, empty cells too many at the end of a row, and cells that are left out there."""
    rows = "a,x,0,train,,,\nb,y,0,train\n , \u00a0,,,,,\n,,,,,,\nc,z,0,train,,,,,\n"
    samples = read_samples(folder.text("clips.csv", "id , text,\u200blabel,mode,video,start,end\n" + rows))
    assert [s.id for s in samples] == ["a", "b", "c"]
    assert [s.guesses for s in samples] == [(), ("cells that a row lacks at its end were taken for empty",), ()]


def test_capital_letters_in_the_names_of_columns_are_told(folder):
    with pytest.raises(InputError, match=r"lacks the column label or class \(Label must be in small letters\)"):
        read_samples(folder.text("clips.csv", "id,text,Label,mode\na,x,0,train\n"))


@pytest.mark.parametrize(
    "name, content, complaint",
    [
        ("clips.xlsx", b"PK\x03\x04rest", "clips.xlsx is a spreadsheet; save it as csv"),
        ("clips.ODS", b"x", "clips.ODS is a spreadsheet; save it as csv"),
        (
            "clips.csv",
            b"PK\x03\x04rest",
            "clips.csv is an Excel workbook or another zip archive, not text; save it as csv",
        ),
        ("clips.csv", b"\xd0\xcf\x11\xe0rest", "clips.csv is an old Excel workbook"),
        ("clips.jsonl", b"\x1f\x8brest", r"clips.jsonl is compressed \(gzip\)"),
    ],
)
def test_spreadsheets_are_named_as_such(folder, name, content, complaint):
    for dataset in ("", "plain"):
        with pytest.raises(InputError, match=complaint):
            read_samples(folder.text(name, content), dataset=dataset)


def test_a_spreadsheet_in_place_of_the_table(folder):
    folder.text("label.xlsx", b"PK\x03\x04")
    with pytest.raises(InputError, match="holds no label.csv; .*; label.xlsx is a spreadsheet: save it as csv"):
        read_samples(folder.root, dataset="ch_sims")


def test_a_table_with_tabs_by_its_suffix(folder):
    assert read_samples(folder.text("a.tsv", "id\ttext\tlabel\tmode\na\tx, y\t0\ttrain\n"))[0].text == "x, y"


# ---- official files ----


@pytest.mark.parametrize("line, score", [("sample_1 100 happy -10", None), ("sample_1 100 happy -4.5", -4.5)])
def test_valence_ten_below_zero_is_none(folder, line, score):
    path = folder.text("train.txt", line + "\nsample_2 100 sad 1\n")
    folder.clip("video/sample_1.mp4")
    first = read_samples(path, dataset="emotion_llama")[0]
    assert (first.score, first.label) == (score, "happy")
    assert first.guesses == (("valence -10, which stands for none, was read as none",) if score is None else ())


@pytest.mark.parametrize("cell", ["-10", "-10.0", "nan", "None"])
def test_no_valence_in_the_family_of_mer(folder, cell):
    folder.csv("train-label.csv", "name,discrete,valence", ["a", "sad", cell])
    folder.clip("train/a.avi")
    (sample,) = read_samples(folder.root, dataset="mer2023")
    assert sample.score is None and len(sample.guesses) == 1
    folder.json("MERR_fine_grained.json", {"a": {"smp_reason_caption": "He sobs."}})
    folder.text("MERR_fine_grained.txt", f"a 30 sad {cell}\n")
    (sample,) = read_samples(folder / "MERR_fine_grained.json", dataset="merr")
    assert sample.score is None and len(sample.guesses) == 1


def test_ten_below_zero_in_a_range_that_holds_it_is_a_score(folder):
    folder.clip("video/a.mp4")
    (sample,) = read_samples(folder.text("train.txt", "a 1 sad -10\n"), (-10.0, 10.0), dataset="emotion_llama")
    assert sample.score == -10.0 and not sample.guesses


def test_names_with_the_suffix_of_a_file(folder):
    video = folder.clip("video/sample_1.mp4")
    (sample,) = read_samples(folder.text("train.txt", "sample_1.mp4 100 happy\n"), dataset="emotion_llama")
    assert sample.video == video and len(sample.guesses) == 1


def test_words_and_explanations_of_names_with_the_suffix_of_a_file(folder):
    video = folder.clip("video/sample_1.mp4")
    folder.csv("transcription.csv", "name,sentence", ["sample_1", "No."])
    folder.json("MERR_fine_grained.json", {"sample_1.avi": {"smp_reason_caption": "He sobs."}})
    (sample,) = read_samples(folder.text("train.txt", "sample_1.mp4 100.0 sad -10\n"), dataset="emotion_llama")
    assert (sample.id, sample.text, sample.reasoning, sample.video) == ("sample_1", "No.", "He sobs.", video)
    twice = folder.text("val.txt", "sample_1 -1 sad\nsample_1.mp4 30 happy\n")
    with pytest.raises(InputError, match="line 2: name 'sample_1' was already given"):
        read_samples(twice, dataset="emotion_llama")


@pytest.mark.parametrize("cell", ["-10", "nan", "-", "N/A"])
def test_what_stands_for_no_class_is_none(folder, cell):
    folder.clip("train/a.avi")
    (sample,) = read_samples(
        folder.csv("train-label.csv", "name,discrete,valence", ["a", cell, "1"]), dataset="mer2023"
    )
    assert (sample.label, sample.score, len(sample.guesses)) == ("", 1.0, 1)
    plain = folder.csv("a.csv", "id,text,label,class,mode", ["a", "x", "0.5", cell, "train"])
    assert read_samples(plain)[0].label == ""
    folder.csv("train-label.csv", "name,discrete,valence", ["a", cell, "-10"])
    with pytest.raises(InputError, match="line 2: discrete .* is no emotion"):
        read_samples(folder / "train-label.csv", dataset="mer2023")
    with pytest.raises(InputError, match="line 1 is neither"):
        read_samples(folder.text("train.txt", f"a 30 {cell}\n"), dataset="emotion_llama")


@pytest.mark.parametrize("column", ["speaker", "reasoning", "start"])
def test_error_values_in_columns_that_may_lack(folder, column):
    path = folder.csv("a.csv", f"id,text,label,mode,{column}", ["a", "x", "0", "train", "#N/A"])
    with pytest.raises(InputError, match=f"line 2: {column} '#N/A' is the error value"):
        read_samples(path)


def test_error_values_in_transcripts(folder):
    folder.csv("transcription.csv", "name,sentence", ["a", "#NAME?"])
    with pytest.raises(InputError, match="transcription.csv line 2: sentence '#NAME[?]' is the error value"):
        read_samples(folder.csv("train-label.csv", "name,discrete", ["a", "sad"]), dataset="mer2023")


@pytest.mark.parametrize(
    "dataset, name",
    [("mer2023", "train-label"), ("meld", "train_sent_emo"), ("emer", "gt-chi"), ("mer_caption_plus", "track2")],
)
def test_a_spreadsheet_in_the_directory_of_any_set(folder, dataset, name):
    (folder.root / f"{name}.xlsx").write_bytes(b"PK")
    with pytest.raises(InputError, match=f"; {name}.xlsx is a spreadsheet: save it as csv"):
        read_samples(folder.root, dataset=dataset)


def test_folders_in_other_capital_letters(folder):
    video = folder.clip("media/day one/ok.mp4")
    path = folder.csv("a.csv", "id,video,label,mode", ["a", "Media\\Day One\\OK.MP4", "0", "train"])
    assert read_samples(path)[0].video == video


@pytest.mark.parametrize("cell", ["nan", "None", "N/A"])
def test_a_path_that_says_there_is_none(folder, cell):
    (sample,) = read_samples(folder.csv("a.csv", "id,text,video,label,mode", ["a", "x", cell, "0", "train"]))
    assert (sample.video, len(sample.guesses)) == ("", 1)
    folder.clip("nan")
    (sample,) = read_samples(folder.csv("a.csv", "id,text,video,label,mode", ["a", "x", "nan", "0", "train"]))
    assert sample.video.endswith("/nan") and not sample.guesses


def test_what_macos_keeps_beside_each_clip_is_no_clip(folder):
    folder.csv("train-label.csv", "name,discrete", ["a", "sad"])
    for name in ("train/a.avi", "test3/b.avi", "test3/._b.avi"):
        folder.clip(name)
    samples = read_samples(folder.root, dataset="mer2023", reading=ReadingOptions(unlabelled=True))
    assert [s.id for s in samples] == ["a", "b"]


def test_meld_numbers_with_decimals(folder):
    header = "Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID"
    folder.csv("train_sent_emo.csv", header, ["Let\x92s go", "Joey", "joy", "positive", "3.0", "1.0"])
    video = folder.clip("train_splits/dia3_utt1.mp4")
    (sample,) = read_samples(folder.root, dataset="meld")
    assert (sample.id, sample.video, sample.text) == ("train_dia3_utt1", video, "Let’s go")
    assert len(sample.guesses) == 3


# ---- media stay inside of a directory ----


def test_media_outside_of_the_root_are_refused(folder):
    inside, outside = folder.clip("set/a.mp4"), folder.clip("secret.mp4")
    os.symlink(outside, folder / "set/link.mp4")
    os.symlink(folder / "set", folder / "way")
    os.mkdir(folder / "settings")
    outside_too = folder.clip("settings/b.mp4")  # a neighbour whose path begins alike
    reading = ReadingOptions(root=str(folder / "way"))

    def read(video):
        path = folder.csv("set/clips.csv", "id,text,label,mode,video", ["a", "x", "0", "train", video])
        return read_samples(path, reading=reading)[0].video

    assert read("a.mp4") == read(inside) == inside
    for video in ("../secret.mp4", outside, "link.mp4", outside_too, "/etc/passwd"):
        with pytest.raises(InputError, match="clips.csv line 2: .* lies outside of .*/set, which read.root says"):
            read(video)
    reading = ReadingOptions()
    assert read(outside) == outside


def test_a_where_counts_a_guess_once():
    where = labels_csv.Where("a.csv line 2")
    where.guess("x"), where.guess("x"), where.guess("y")
    assert where.guesses == ["x", "y"] and f"{where}" == str(where) == "a.csv line 2"
