"""Clips out of sets of tensorflow-datasets: those that a prepared directory became, and such as others make."""

import numpy as np
import pytest

from emsa_jax.data import tfds_builder
from emsa_jax.data.batch_order import Plan, batch_at
from emsa_jax.data.data_options import PrepareOptions
from emsa_jax.data.mel import log_mel
from emsa_jax.data.pipeline import Clips, batches
from emsa_jax.data.prepare import prepare
from emsa_jax.data.puppets import PuppetWorld, make_puppets
from emsa_jax.data.records import RecordSource, unpack_pcm
from emsa_jax.data.tfds_clips import TfdsClips, TfdsFields
from emsa_jax.errors import InputError

pytestmark = pytest.mark.tfds
RANGE = (-3.0, 3.0)


@pytest.fixture(scope="module")
def tfds():
    return tfds_builder.import_tfds()


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Six prepared puppets."""
    raw = tmp_path_factory.mktemp("raw") / "puppets"
    make_puppets(raw, PuppetWorld(num_train=4, num_valid=1, num_test=1, workers=1))
    prepare(raw, raw.parent / "records", PrepareOptions(workers=1, frame_format="raw"), RANGE)
    return raw.parent / "records"


@pytest.fixture(scope="module")
def served(tfds, records, tmp_path_factory):
    """A prepared directory as TFDS has it, opened as anyone would."""
    return tfds.builder_from_directory(tfds_builder.build(records, tmp_path_factory.mktemp("served")))


@pytest.fixture(scope="module")
def made(tfds, tmp_path_factory):
    """A function that makes a set as others do: (features, rows, name) -> its train split."""

    def make(features, rows, name):
        builder = tfds.dataset_builders.store_as_tfds_dataset(
            name=name,
            version="1.0.0",
            features=tfds.features.FeaturesDict(features),
            split_datasets={"train": list(enumerate(rows))},
            data_dir=tmp_path_factory.mktemp(name),
            file_format="array_record",
        )
        return builder.as_data_source("train")

    return make


def test_clips_come_back_from_a_set_made_of_records(served, records):
    ours, source = Clips(records, "train"), RecordSource(records, "train")
    theirs = TfdsClips(served.as_data_source("train"), split="train", score_range=RANGE)
    assert len(theirs) == len(ours) > 0
    for i, clip in enumerate(theirs):
        own, record = ours[i], source[i]
        for name in ("id", "text", "split", "language", "label", "speaker", "reasoning", "frame_rate"):
            assert getattr(clip, name) == getattr(own, name), name
        assert clip.score == pytest.approx(own.score, abs=1e-6)
        np.testing.assert_array_equal(clip.frames, own.frames)
        np.testing.assert_array_equal(clip.mel, log_mel(unpack_pcm(record) / np.float32(32768)))
        assert clip.mel.shape == own.mel.shape and abs(clip.mel - own.mel).max() < 0.02  # made before sound was rounded


def test_grain_reads_them_in_the_order_of_a_plan(served):
    clips = TfdsClips(served.as_data_source("train"), split="train", score_range=RANGE)
    plan = Plan(np.array([10] * len(clips)), (16,), batch_size=2, seed=1, drop_remainder=True)
    for step, batch in batches(clips, plan, stop_step=2):
        assert [clip.id for clip in batch] == [clips[i].id for i in batch_at(plan, step, 0, 1)]


def test_a_set_of_others_is_read_by_the_kinds_of_its_features(tfds, made):
    rng = np.random.default_rng(0)
    stereo = rng.integers(-9000, 9000, (8000, 2))
    features = {
        "sentence": tfds.features.Text(),
        "wave": tfds.features.Audio(shape=(None, 2), sample_rate=8000),
        "film": tfds.features.Sequence(tfds.features.Image(shape=(None, None, 3))),
        "mood": tfds.features.ClassLabel(names=["sad", "glad"]),
    }
    film = rng.integers(0, 255, (8, 64, 80, 3), np.uint8)
    source = made(features, [{"sentence": "hm", "wave": stereo, "film": film, "mood": "glad"}], "others")
    options = PrepareOptions(fps=0, num_frames=4)
    (clip,) = TfdsClips(source, split="test", score_range=RANGE, options=options, language="zh", frame_rate=4.0)
    assert (clip.id, clip.text, clip.score, clip.label) == ("test-000000", "hm", None, "glad")
    assert (clip.split, clip.language, clip.frame_rate) == ("test", "zh", 2.0)  # 4 of 8 frames in 2 seconds
    assert clip.frames.shape == (4, 56, 84, 3) and clip.mel.shape == (100, 128)
    with pytest.raises(InputError, match=r"others.*: no feature frame_rate says"):
        TfdsClips(source, split="test", score_range=RANGE)[0]


def test_what_a_set_lacks_or_has_twice_is_named(tfds, made):
    text, number = tfds.features.Text(), np.float32
    rows = [{"said": "a", "meant": "b", "stars": 4.0}]
    source = made({"said": text, "meant": text, "stars": number}, rows, "twice")
    with pytest.raises(InputError, match=r"twice.*: (said, meant|meant, said) are all text; say which in names.text"):
        TfdsClips(source, split="train", score_range=RANGE)
    with pytest.raises(InputError, match=r"has no feature 'words' \(text\); it has"):
        TfdsClips(source, split="train", score_range=RANGE, names=TfdsFields(text="words"))
    clips = TfdsClips(source, split="train", score_range=RANGE, names=TfdsFields(text="said"))
    with pytest.raises(InputError, match=r"'train-000000': score 4 is outside \[-3.0, 3.0\]"):
        clips[0]
    with pytest.raises(InputError, match="split 'all' is none of"):
        TfdsClips(source, split="all", score_range=RANGE)
    with pytest.raises(InputError, match="is a label: a ClassLabel, or a number"):
        TfdsClips(made({"said": text}, [{"said": "a"}], "bare"), split="train", score_range=RANGE)
    with pytest.raises(InputError, match="none of stars is text, audio or video"):
        TfdsClips(made({"stars": number}, [{"stars": 1.0}], "silent"), split="train", score_range=RANGE)
