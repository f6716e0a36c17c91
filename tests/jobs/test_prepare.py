"""configs/prepare.py outside a run: a directory of records, and what it says of them."""

import pytest

from emsa_jax.data.data_options import CrossDataset, ReadingOptions
from emsa_jax.data.records import read_index, read_manifest
from emsa_jax.errors import InputError
from emsa_jax.jobs.prepare import prepare_records
from emsa_jax.policy.tiny import make_tiny
from emsa_jax.settings.config import Config

ROWS = "id,text,label,mode,video,audio\na,a good day,2.5,train,,\nb,a bad day,-1,train,,\nc,a day,0,test,,\n"


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "clips.csv"
    path.write_text(ROWS)
    return path


def config(source, **changes):
    return Config(**{"stages": ("prepare",), "data": str(source), "out": str(source.parent / "records")} | changes)


def test_a_named_set_brings_its_own_range(source, capsys):
    source.write_text("video_id,clip_id,text,label,mode\nv,1,fine,-2.8,train\nv,2,bad,3,test\n")
    prepare_records(config(source, dataset="cmu_mosi"))
    manifest = read_manifest(source.parent / "records")
    assert (manifest.score_range, manifest.dataset, manifest.samples["train"]) == ((-3.0, 3.0), "cmu_mosi", 1)
    assert "official sizes: train 1,284" in capsys.readouterr().out


def test_reading_options_arrive(source):
    prepare_records(config(source, score_range=(-3.0, 3.0), read=ReadingOptions(valid_share=1.0)))
    assert read_manifest(source.parent / "records").samples == {"train": 0, "valid": 2, "test": 1}


def test_with_a_policy_the_manifest_knows_prompt_lengths(source):
    make_tiny(source.parent / "policy", ["good", "bad"], 0, vocab_size=320)
    prepare_records(config(source, score_range=(-3.0, 3.0), policy=str(source.parent / "policy")))
    manifest = read_manifest(source.parent / "records")
    assert manifest.boundaries and manifest.boundaries[-1] >= manifest.quantiles["tokens"]["1"] > 50
    assert [entry.id for entry in read_index(source.parent / "records", "train")] == ["a", "b"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "puppets:en"}, "out: name raw data"),
        ({"stages": ("prepare", "sft")}, "out: only configs/prepare.py"),
        ({"dataset": "mosi"}, "dataset 'mosi' is none of cmu_mosi"),
        ({"score_range": (1.0,)}, "two numbers that rise"),
    ],
)
def test_what_cannot_be(source, changes, message):
    with pytest.raises(InputError, match=message):
        config(source, **changes)


def test_a_second_domain_may_be_of_another_set():
    Config(policy="p", data="d", dataset="ch_sims", cross=CrossDataset("m", dataset="cmu_mosi"))
