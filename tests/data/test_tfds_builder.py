"""Without tensorflow-datasets, which is an extra, what would need it says so; with it, see test_tfds_clips.py."""

import sys

import pytest

from emsa_jax.data import tfds_builder
from emsa_jax.errors import InputError


def test_without_the_extra_the_reason_and_what_to_install_are_told(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(InputError, match=r"cannot be used here \(.*tensorflow.*\); pip install 'emsa_jax\[tfds\]'"):
        tfds_builder.build(tmp_path, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
