"""The page of cues: what is matched, what is marked, and the clip beside it."""

import numpy as np

from emsa_jax.data import records as R
from emsa_jax.data.data_options import PrepareOptions
from emsa_jax.data.records.records_manifest import write_records_manifest
from emsa_jax.data.records.shards import ShardWriter
from emsa_jax.data.sample import Sample
from emsa_jax.report.cue_page import MOST, cue_page, media_of_records


def row(clip="a", cue="She smiles.", nearest="She grins.", cosine=0.8, dropped=False):
    return dict(clip=clip, kind="visual", side="predicted", cue=cue, nearest=nearest, cosine=cosine, dropped=dropped)


def test_cues_are_marked_and_texts_are_escaped():
    rows = [row(), row(cue="<b>He</b> frowns.", cosine=0.49), row(cue="alone", nearest=None, cosine=None),
            row(cue="subtitle", dropped=True)]  # fmt: skip
    page = cue_page(rows, "intro", {}).decode()
    assert page.count('<tr class="matched">') == 1 and page.count('<tr class="unmatched">') == 2
    assert page.count('<tr class="dropped">') == 1 and "&lt;b&gt;He" in page and "<b>He" not in page
    assert "0.80" in page and "<img" not in page


def test_a_page_ends():
    page = cue_page([row(clip=str(n)) for n in range(MOST + 5)], "", {}).decode()
    assert page.count("<section>") == MOST and f"The first {MOST} of {MOST + 5} clips are shown." in page


def test_clips_stand_beside_their_cues(tmp_path):
    (tmp_path / "records").mkdir()
    writer, frames = ShardWriter(tmp_path / "records", "train", 2**24), np.zeros((6, 28, 28, 3), np.uint8)
    pcm, mel = np.zeros(16000, np.int16), np.zeros((100, 128), np.float32)
    sample = Sample("a", "I see.", 0.5, "train")
    packed = R.pack(sample, frames, 2.0, mel, pcm, "", PrepareOptions(frame_format="raw"))
    writer.add(packed)
    write_records_manifest(tmp_path / "records", writer.close(), [R.entry(packed)], (-1.0, 1.0))
    media = media_of_records(tmp_path / "records", ["a", "b"])
    assert set(media) == {"a"} and len(media["a"]["frames"]) == 4 and media["a"]["text"] == "I see."
    page = cue_page([row()], "", media).decode()
    assert page.count('<img src="data:image/jpeg') == 4 and "data:audio/mpeg" in page and "I see." in page
