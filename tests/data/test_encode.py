"""Files that have no picture, or no sound, in every column of a row."""

import numpy as np
import pytest
import soundfile

from emsa_jax.data.data_options import PrepareOptions
from emsa_jax.data.encode import NO_PICTURE, SOUND_ALONE, encode
from emsa_jax.data.media import Broken
from emsa_jax.data.outliers import MUTE, STATIC
from emsa_jax.data.records import unpack
from emsa_jax.data.sample import Sample

GRADIENT = np.repeat(np.tile(np.arange(84, dtype=np.uint8) * 3, (56, 1))[:, :, None], 3, axis=2)


@pytest.fixture
def files(clip, tmp_path):
    """A picture with sound, a picture alone, sound alone in a file for video and in one for sound, and neither."""
    sound, moving = clip.sine(3), [np.roll(GRADIENT, 3 * i, axis=1) for i in range(30)]
    named = {
        "both": clip.write(tmp_path / "both.mp4", np.stack(moving), sound=sound),
        "picture": clip.write(tmp_path / "picture.mp4", np.stack(moving)),
        "sound": clip("sound.mp4", frames=0, sound=sound),
        "mkv": clip("sound.mkv", frames=0, sound=sound),
        "capital": clip("SOUND.MP4", frames=0, sound=sound),
        "wav": tmp_path / "a.wav",
        "": "",
    }
    soundfile.write(named["wav"], clip.sine(2)[0], 16000)
    return named


@pytest.mark.parametrize(
    "video, audio, frames, seconds, notes",
    [
        ("both", "", 4, 3, ()),
        ("picture", "", 4, 0, (MUTE,)),
        ("sound", "", 0, 3, (SOUND_ALONE,)),
        ("mkv", "", 0, 3, (SOUND_ALONE,)),
        ("capital", "", 0, 3, (SOUND_ALONE,)),
        ("wav", "", 0, 2, (SOUND_ALONE,)),
        ("", "sound", 0, 3, ()),
        ("", "both", 0, 3, ()),
        ("", "mkv", 0, 3, ()),
        ("both", "wav", 4, 2, ()),
        ("picture", "sound", 4, 3, ()),
        ("picture", "wav", 4, 2, ()),
        ("sound", "wav", 0, 2, (NO_PICTURE,)),
        ("sound", "sound", 0, 3, (NO_PICTURE,)),
        ("sound", "both", 0, 3, (NO_PICTURE,)),
        ("wav", "wav", 0, 2, (NO_PICTURE,)),
        ("", "picture", None, None, "sound: it has no samples"),
        ("both", "picture", None, None, "sound: it has no samples"),
        ("sound", "picture", None, None, "sound: it has no samples"),
    ],
)
def test_every_combination_of_columns(files, video, audio, frames, seconds, notes):
    for span, length in (({}, seconds), ({"start": 0.5, "end": 1.5}, seconds and 1)):
        sample = Sample("c", "words", 0.0, "train", str(files[video]), str(files[audio]), **span)
        if frames is None:
            with pytest.raises(Broken, match=notes):
                encode(sample, "", PrepareOptions(num_frames=4))
            continue
        made = unpack(encode(sample, "", PrepareOptions(num_frames=4)))
        assert (len(made.frames), made.notes) == (frames, notes)
        assert len(made.mel) / 100 == pytest.approx(length, abs=0.1)


def test_a_part_that_the_picture_does_not_reach_keeps_its_sound(clip, tmp_path):
    moving = np.stack([np.roll(GRADIENT, 3 * i, axis=1) for i in range(10)])
    path = clip.write(tmp_path / "early.mp4", moving, sound=clip.sine(3))
    made = unpack(encode(Sample("c", "words", 0.0, "train", str(path), start=1.5, end=2.5), "", PrepareOptions()))
    assert (len(made.frames), made.notes) == (0, (SOUND_ALONE,)) and len(made.mel) == 100
    alone = Sample("c", "words", 0.0, "train", str(clip.write(tmp_path / "alone.mkv", moving)), start=1.5, end=2.5)
    with pytest.raises(Broken, match="video: the clip from 1.5 to 2.5 s"):
        encode(alone, "", PrepareOptions())


def test_a_picture_that_never_changes_and_guesses_are_noted(files, clip):
    still = clip.write(files["wav"].with_name("still.mp4"), np.stack([GRADIENT] * 20))
    sample = Sample("c", "words", 0.0, "train", str(still), guesses=("mode val was read as valid",))
    assert unpack(encode(sample, "", PrepareOptions(num_frames=4))).notes == (
        "mode val was read as valid",
        STATIC,
        MUTE,
    )
