"""Cues out of descriptions: in both languages, by tags, and out of hostile text in linear time."""

import time

import pytest

from emsa_jax.answers.described_cues import cues_of_text

EMPTY = {"visual": [], "auditory": [], "emotional": []}
CASES = {
    "In the video, a man frowns. He looks down. In the audio, he speaks slowly; his voice is low. In the text, the "
    'subtitle reads "I am fine." Therefore, he is sad.': {
        "visual": ["a man frowns.", "He looks down."],
        "auditory": ["he speaks slowly", "his voice is low."],
        "emotional": ["he is sad."],
    },
    "在视频中，男子皱着眉头；他低着头。音频中，语速缓慢。字幕中说“我没事”。综上，他很难过。": {
        "visual": ["男子皱着眉头", "他低着头。"],
        "auditory": ["语速缓慢。"],
        "emotional": ["他很难过。"],
    },
    "<visual>She nods. She smiles.</visual><audio>A sigh.</audio> <conclusion>Relief.</conclusion> rest": {
        "visual": ["She nods.", "She smiles."],
        "auditory": ["A sigh."],
        "emotional": ["Relief."],
    },
    "He is angry, as is seen by all who are there in the video.": {
        "emotional": ["He is angry, as is seen by all who are there in the video."]
    },
    "<visual>not closed": {"emotional": ["<visual>not closed"]},
    "": {},
    " \n.\n!": {},
}


@pytest.mark.parametrize("text", CASES)
def test_each_sentence_goes_to_its_sense(text):
    assert cues_of_text(text) == EMPTY | CASES[text]


def test_long_hostile_texts_are_read_in_linear_time():
    begun = time.perf_counter()
    for piece in ("<visual>", "in the video ", ". ", "</audio><audio>", "视频中", "x\n", "the the "):
        cues_of_text(piece * 20_000)
    assert time.perf_counter() - begun < 5
