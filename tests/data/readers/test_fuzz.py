"""Damaged and invented label files: each ends in samples that can be written, or in one line that says why not."""

import json
import os
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emsa_jax.data.data_options import ReadingOptions
from emsa_jax.data.facts import facts_of
from emsa_jax.data.readers import READERS, read_samples
from emsa_jax.data.sample import SPLITS
from emsa_jax.errors import InputError

MMSA = 'video_id,clip_id,text,label,annotation,mode\nv_1,0001,"我，不想",-0.4,Negative,train\nv_1,2,x,,,test\n'
V1 = 'names,emotions,subtitles,reasons\ns1,angry,"Don\'t, no.",He roared.\ns2,sad,,"He said ""no""."\n'
TURNS = [{"from": "human", "value": "?"}, {"from": "gpt", "value": "<think>so</think><answer>sad</answer>"}]
FILES = {
    "cmu_mosi": {"label.csv": MMSA},
    "cmu_mosei": {"label.csv": MMSA},
    "ch_sims": {
        "metadata/sentiment/label_M.csv": "video_id,clip_id,label\nv_1,1,0.4\nv_1,2,-1\n",
        "metadata/Translation.csv": "video_id,clip_id,Chinese,English\nv_1,1,好,good\nv_1,2,坏,bad\n",
        "metadata/train_index.csv": "index\n0\n",
        "metadata/val_index.csv": "index\n1\n",
        "metadata/test_index.csv": "index\n",
    },
    "ch_sims_v2": {"meta.csv": MMSA + "v_2,1,谁,,,unlabeled\n", "meta(u).csv": "video_id,clip_id,text\nv_3,1,也许\n"},
    "ch_cems": {
        "label.jsonl": '{"video_id": "v", "clip_id": 1, "text": "好", "label": 0.2, "mode": "train", "tone": "happy", '
        '"expression": "sad", "speaking_style": "", "reasoning": "因为"}\n'
    },
    "meld": {
        "dev_sent_emo.csv": "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,StartTime\n"
        '1,"Oh, he’s lost it.",Phoebe,sadness,negative,0,0,"00:20:57,256"\n2,What?,Monica,surprise,positive,0,1,x\n'
    },
    "mer2023": {
        "train-label.csv": "name,discrete,valence\nsample_1,happy,2.5\nsample_2,sad,-1.17\n",
        "transcription.csv": "name,sentence\nsample_1,好\n",
    },
    "mer_caption_plus": {
        "track2_train_mercaptionplus.csv": "name,openset\na,\"[happy, 'calm']\"\nb,[]\n",
        "track3_train_mercaptionplus.csv": 'name,reason\na,"He, too."\nc,x\n',
    },
    "merr": {
        "MERR_fine_grained.json": '{"s1": {"pseu_emotion": "sad", "smp_reason_caption": "He \\u6b22 sobs.", "n": [1]}}',
        "MERR_fine_grained.txt": "s1 35 angry -1.174107\ns2 12 fear\n",
    },
    "emer": {"gt-chi.csv": V1, "final-EMER-reason.csv": "name,chinese,english\ns1,他笑；,He laughs.\n"},
    "conversations": {"train.json": json.dumps([{"video": "DFEW/1.mp4", "conversations": TURNS}, {"id": 7}][:1])},
    "emotion_llama": {"train.txt": "s1 35 angry -1.174107\ns2 fear\n", "train.json": '{"s1": {"caption": "x"}}'},
    "plain": {
        "clips.csv": "id,text,label,mode,video,start,end,class,concepts,language\n"
        "a,好,0.5,train,a.mp4,1,2.5,happy,tone=sad; style=vlog,zh\nb,x,,test,,,,,,\n"
    },
}
TOKENS = [
    *(b'"', b",", b"\n", b"\r", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\\ud800", b"\\u0000", b"../../x", b"/", b"nan"),
    *(b"1e999", b"-0", b"9" * 400, b"{", b"[", b"[" * 3000, b"}", b"null", b"true", b'"a":', b"\xe9", b"\xa1\xa1"),
    *(b";", b"\t", b"=", b" ", "１".encode(), b"\xe2\x80\xa8", b"<answer>", b"x" * 140_000),
]
MUTATION = st.tuples(
    st.sampled_from(("insert", "replace", "cut", "repeat", "truncate")),
    st.floats(0, 1),
    st.integers(1, 30),
    st.sampled_from(TOKENS) | st.binary(max_size=6),
)
EXAMPLES = settings(
    max_examples=int(os.environ.get("EXAMPLES", "40")),
    deadline=timedelta(seconds=10),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def mutate(data, mutations):
    for kind, place, length, token in mutations:
        at = int(place * len(data))
        if kind == "insert":
            data = data[:at] + token + data[at:]
        elif kind == "replace":
            data = data[:at] + token + data[at + len(token) :]
        elif kind == "cut":
            data = data[:at] + data[at + length :]
        elif kind == "repeat":
            data = data[:at] + data[max(at - 4 * length, 0) :]
        else:
            data = data[:at]
    return data


def check(path, dataset):
    """Whether samples came; they must be fit for records, and a refusal one line that names the source."""
    try:
        samples = read_samples(path, dataset=dataset, reading=ReadingOptions(unlabelled=True))
    except InputError as error:
        assert str(path) in str(error) and "\n" not in str(error) and "\r" not in str(error)
        return False
    low, high = facts_of(dataset).score_range
    assert len({sample.id for sample in samples}) == len(samples) > 0
    for sample in samples:
        json.dumps(vars(sample), ensure_ascii=False).encode()
        assert sample.split in SPLITS and sample.language in ("en", "zh")
        assert sample.score is None or low <= sample.score <= high
        assert sample.start >= 0 and (sample.end is None or sample.end > sample.start)
        assert "\0" not in sample.video + sample.audio
        assert dataset == "plain" or ".." not in sample.video.split("/")  # a plain table may name any file
    return True


def named(folder, dataset):
    """What a user names: the directory, or the file of a set that is one table, which `FILES` has as clips.csv."""
    return folder / "clips.csv" if list(FILES[dataset]) == ["clips.csv"] else folder.root


def test_every_reader_has_files_here():
    assert FILES.keys() == READERS.keys(), "give FILES a small example of what the reader reads"


@pytest.mark.parametrize("dataset", READERS)
def test_what_is_mutated_is_sound(folder, dataset):
    for name, content in FILES[dataset].items():
        folder.text(name, content)
    assert check(named(folder, dataset), dataset)


@pytest.mark.parametrize("dataset", READERS)
@EXAMPLES
@given(data=st.data())
def test_damaged_files(folder, dataset, data):
    files = FILES[dataset]
    damaged = data.draw(st.sampled_from(sorted(files)))
    mutations = data.draw(st.lists(MUTATION, min_size=1, max_size=4))
    for name, content in files.items():
        folder.text(name, mutate(content.encode(), mutations) if name == damaged else content)
    check(named(folder, dataset), dataset)


LEAF = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(
        ["../a", "a", "train", "test", "0.5", "nan", "\ud800", "\0", "zh", "tone=x", "<answer>a</answer>"]
    )
)
FIELDS = st.sampled_from(
    "video conversations id text label mode class concepts start end audio video_id clip_id tone expression language "
    "speaking_style reasoning caption smp_reason_caption pseu_emotion from value".split()
) | st.text(max_size=3)
VALUE = st.recursive(LEAF, lambda v: st.lists(v, max_size=3) | st.dictionaries(FIELDS, v, max_size=3), max_leaves=6)
OBJECT = st.dictionaries(FIELDS, VALUE, max_size=8)
GOOD = {
    "plain": {"id": "a", "text": "x", "label": 0.5, "mode": "train"},
    "ch_cems": json.loads(FILES["ch_cems"]["label.jsonl"]),
    "conversations": {"video": "a.mp4", "conversations": TURNS},
}


@pytest.mark.parametrize("dataset", GOOD)
@EXAMPLES
@given(changes=st.lists(OBJECT | VALUE, min_size=1, max_size=3))
def test_invented_lines(folder, dataset, changes):
    rows = [GOOD[dataset] | change if isinstance(change, dict) else change for change in changes]
    check(folder.jsonl("label.jsonl", *rows), dataset)


@EXAMPLES
@given(content=st.dictionaries(st.text(max_size=4) | st.just("../a"), OBJECT | VALUE, max_size=3) | VALUE)
def test_invented_json(folder, content):
    path = folder.text("MERR_fine_grained.json", json.dumps(content))
    check(path, "merr")


def test_long_answers_take_linear_time(folder):
    value = "<think>" + "</think> <answer>" * 50_000
    path = folder.json("a.json", [{"video": "a.mp4", "conversations": [{"from": "gpt", "value": value}]}])
    assert check(path, "conversations")
