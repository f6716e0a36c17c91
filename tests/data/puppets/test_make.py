import csv
import hashlib
import json
from dataclasses import replace

import av
import numpy as np
import pytest

from emsa_jax.answers.dc import DC
from emsa_jax.answers.traces import filter_traces, read_traces
from emsa_jax.data.puppets import PuppetWorld, ceiling, make, make_puppets
from emsa_jax.data.puppets.render import render
from emsa_jax.data.puppets.world import DOMAINS, draw_world
from emsa_jax.data.readers import read_samples
from emsa_jax.errors import InputError

SMALL = PuppetWorld(domain="zh", num_train=40, num_valid=8, num_test=8, seed=5, trace_share=1.0, workers=1)


def digests(folder):
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    out = tmp_path_factory.mktemp("puppets") / "zh"
    make_puppets(out, SMALL)
    return out


def test_the_readers_take_it_like_real_data(small):
    samples = read_samples(small, (-1, 1), "zh")
    read, drawn = ([(x.id, x.text, x.score, x.split) for x in xs] for xs in (samples, draw_world(SMALL)))
    assert read == drawn
    with open(small / "label.csv", encoding="utf-8") as file:
        assert file.readline() == "video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode\n"


def test_traces_go_through_the_filter(small):
    truths = {p.id: p.score for p in draw_world(SMALL)}
    clips = {sample.id: sample for sample in read_samples(small, (-1, 1), "zh")}
    kept, rejected = filter_traces(read_traces(small / "traces.jsonl"), clips, DC((-1, 1)))
    assert len(kept) + len(rejected) == 40 and 4 <= len(rejected) <= 20
    assert all(trace.score == truths[trace.id] for trace in kept)


def test_clips_decode_to_what_was_drawn(small):
    for puppet, sample in list(zip(draw_world(SMALL), read_samples(small, (-1, 1), "zh"), strict=True))[:5]:
        frames, sound = render(puppet, DOMAINS["zh"])
        with av.open(sample.video) as container:
            assert container.streams.video[0].average_rate == 8
            seen = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])
        with av.open(sample.video) as container:
            heard = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])[: len(sound)]
        assert seen.shape == frames.shape
        error, late = (np.abs(seen - f.astype(float)).mean() for f in (frames, np.roll(frames, 1, 0)))
        assert error < 8 and error < 0.9 * late
        assert np.corrcoef(heard, sound)[0, 1] > 0.97


def test_equal_options_give_equal_bytes_whatever_the_workers(small, tmp_path):
    calls = []
    make_puppets(tmp_path / "again", replace(SMALL, workers=2), lambda *at: calls.append(at))
    assert digests(tmp_path / "again") == digests(small)
    assert calls[-1] == (56, 56)


def test_another_seed_gives_other_clips(small, tmp_path):
    make_puppets(tmp_path / "other", replace(SMALL, seed=6))
    one, two = digests(small), digests(tmp_path / "other")
    assert one.keys() == two.keys() and not set(one.values()) & set(two.values())


def test_info_and_latents_tell_all(small):
    info = json.loads((small / "info.json").read_text())
    assert (info["language"], info["score_range"], info["seed"]) == ("zh", [-1, 1], 5)
    assert info["options"] == {k: v for k, v in vars(SMALL).items() if k != "workers"}
    with open(small / "latents.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["id"], float(r["mouth"])) for r in rows] == [(p.id, p.mouth) for p in draw_world(SMALL)]


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(make, "write_traces", fail)
    with pytest.raises(OSError, match="disk full"):
        make_puppets(tmp_path / "half", SMALL)
    assert not list(tmp_path.iterdir())


def test_a_taken_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(InputError, match=str(tmp_path)):
        make_puppets(tmp_path, SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def latents(path, **options):
    rows = [make.latent_row(p) for p in draw_world(PuppetWorld(num_train=600, num_test=1000, **options))]
    make.write_csv(path, rows)
    return ceiling(path)


def test_the_ceiling_is_high_but_below_one_and_words_alone_are_worth_little(tmp_path):
    best = latents(tmp_path / "latents.csv")
    assert 0.93 < best["face_and_voice"] < 0.99 and best["with_words"] > best["face_and_voice"] - 0.01
    assert best["words_only"] == pytest.approx(0.7, abs=0.03)
    assert best["majority"] == pytest.approx(0.4, abs=0.02)


def test_without_noise_the_ceiling_is_one(tmp_path):
    assert latents(tmp_path / "latents.csv", noise=0)["face_and_voice"] > 0.99


def test_the_ceiling_learns_from_train_alone(tmp_path):
    rows = [make.latent_row(p) for p in draw_world(PuppetWorld(num_train=300, num_test=300))]
    for row in rows:
        row["score"] *= -1 if row["split"] == "train" else 1
    make.write_csv(tmp_path / "l.csv", rows)
    assert ceiling(tmp_path / "l.csv")["face_and_voice"] < 0.4


def test_the_ceiling_needs_its_file(tmp_path):
    with pytest.raises(InputError, match=r"latents\.csv"):
        ceiling(tmp_path / "latents.csv")
