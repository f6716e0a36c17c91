from collections import Counter

import numpy as np
import pytest

from emsa_jax.data.puppets.world import DOMAINS, PuppetWorld, draw_world, notch
from emsa_jax.errors import InputError


def world(**options):
    return draw_world(PuppetWorld(**{"num_train": 500, "num_valid": 20, "num_test": 200, **options}))


@pytest.mark.parametrize("domain", DOMAINS)
def test_shares_of_polarity_sarcasm_and_noise_are_as_stated(domain):
    for split, count in (("train", 500), ("test", 200)):
        puppets = [p for p in world(domain=domain) if p.split == split]
        assert len(puppets) == count
        polarity = Counter(np.sign(p.score) for p in puppets)
        assert [polarity[s] / count for s in (-1, 0, 1)] == pytest.approx([0.4, 0.2, 0.4])
        assert sum(p.sarcastic for p in puppets) == 0.3 * count
        assert sum(p.noisy for p in puppets) == 0.06 * count


def test_words_follow_the_truth_except_in_sarcasm():
    for p in world():
        if not p.sarcastic:
            assert np.sign(p.valence) == np.sign(p.score)
        elif p.score:
            assert np.sign(p.valence) == -np.sign(p.score)
        else:
            assert p.valence != 0
        assert p.word in p.text and len(p.text.split()) <= 10


def test_face_and_voice_show_the_drawn_level_which_is_the_truth_but_for_noise():
    puppets = world(noise=0.5)
    for p in puppets:
        assert (p.drawn == p.level) == (not p.noisy)
        assert p.drawn in (0, p.level - 1, p.level + 1) or not p.noisy
        assert abs(p.mouth - notch(p.drawn)) < 0.15 and abs(p.pitch - 3 * notch(p.drawn)) < 0.45
    assert {p.drawn for p in puppets} == set(range(-4, 5))


@pytest.mark.parametrize("domain", DOMAINS)
def test_scores_lie_on_a_grid_inside_the_range(domain):
    scores = {p.score for p in world(domain=domain)}
    top = DOMAINS[domain].score_max
    assert scores == {round(k * top / 5, 2) for k in range(-4, 5)}


def test_videos_and_their_speakers_belong_to_one_split():
    splits = {}
    for p in world():
        splits.setdefault(p.video_id, set()).add((p.split, p.speaker))
    assert all(len(s) == 1 for s in splits.values())
    assert len({p.id for p in world()}) == 720


def test_a_seed_decides_the_world_and_another_gives_another():
    assert world(seed=3) == world(seed=3)
    same = [a.mouth == b.mouth for a, b in zip(world(seed=3), world(seed=4), strict=True)]
    assert sum(same) == 0


@pytest.mark.parametrize(
    "bad",
    [{"domain": "fr"}, {"sarcasm": 1.5}, {"noise": -0.1}, {"fooled": float("nan")}, {"num_train": 0}, {"seed": -1}],
)
def test_bad_options_name_the_field(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        PuppetWorld(**bad)
