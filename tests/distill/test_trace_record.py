"""The record: whole lines or none, whoever is killed while writing, and whoever writes beside."""

import multiprocessing
import random

import pytest

from emsa_jax.distill.trace_record import Record, is_record, read_record
from emsa_jax.errors import InputError


def kept(path):
    return list(read_record(path))


def append(path, *rows):
    record = Record(path, lambda row, place: None)
    record.append(*rows)
    record.close()


def test_rows_come_back_as_they_were(tmp_path):
    rows = [{"id": "a\u2028b\n", "text": "“so”, 词", "score": -0.25, "deep": {"list": [1, None, True]}}, {"id": "b"}]
    append(tmp_path / "r", *rows)
    append(tmp_path / "r", {"id": "c"})
    assert kept(tmp_path / "r") == [*rows, {"id": "c"}]
    assert is_record(tmp_path / "r")
    (tmp_path / "other").write_text('{"id": "a"}\n')
    assert not is_record(tmp_path / "other") and not is_record(tmp_path / "nothing")


def test_a_half_character_does_not_stop_it(tmp_path):
    append(tmp_path / "r", {"id": "\ud800"})
    assert kept(tmp_path / "r") == [{"id": "?"}]


def test_cut_at_every_byte(tmp_path):
    """What a kill may leave: the whole rows count, and the next writer goes on behind them."""
    append(tmp_path / "whole", {"id": "a"}, {"id": "b词"})
    content = (tmp_path / "whole").read_bytes()
    first = content.index(b"\n") + 1
    for size in range(len(content)):
        (tmp_path / "r").write_bytes(content[:size])
        whole = [{"id": "a"}] if size >= first else []
        assert kept(tmp_path / "r") == whole
        append(tmp_path / "r", {"id": "c"})
        assert kept(tmp_path / "r") == [*whole, {"id": "c"}]


def test_every_flipped_bit_is_noticed(tmp_path):
    append(tmp_path / "whole", {"id": "a", "score": 0.5}, {"id": "b"})
    content = (tmp_path / "whole").read_bytes()
    whole = kept(tmp_path / "whole")
    for i in range(len(content) - 1):  # the last line's end is what makes it whole
        for bit in range(8):
            (tmp_path / "r").write_bytes(content[:i] + bytes([content[i] ^ 1 << bit]) + content[i + 1 :])
            with pytest.raises(InputError, match=r"r, line \d: damaged"):
                assert kept(tmp_path / "r") != whole


def test_a_row_is_found_again_by_its_place(tmp_path):
    places = {}
    record = Record(tmp_path / "r", lambda row, place: places.setdefault(row["id"], place))
    for i in range(50):
        record.append({"id": i, "text": "x" * i * 5000})
    assert [record.at(places[i])["id"] for i in (49, 0, 7)] == [49, 0, 7]
    again = {}
    Record(tmp_path / "r", lambda row, place: again.setdefault(row["id"], place))
    assert again == places


def test_nothing_half_written_on_a_full_disk(tmp_path, monkeypatch):
    seen = []
    record = Record(tmp_path / "r", lambda row, place: seen.append(row))
    record.append({"id": "a"})
    plain = record._file

    class Full:
        def write(self, content):
            if len(content) > 10:
                return plain.write(content[:10])
            raise OSError(28, "No space left on device")

        def __getattr__(self, name):
            return getattr(plain, name)

    record._file = Full()
    with pytest.raises(OSError, match="No space"):
        record.append({"id": "b", "text": "x" * 5})
    record._file = plain
    assert seen == kept(tmp_path / "r") == [{"id": "a"}]
    record.append({"id": "c"})
    assert seen == kept(tmp_path / "r") == [{"id": "a"}, {"id": "c"}]


def _count(path, name, times, size):
    """Appends numbers that rise by one, whoever writes: each process must have seen all rows before its own."""
    rows = []
    record = Record(path, lambda row, place: rows.append(row))
    rng = random.Random(name)
    for _ in range(times):
        while True:
            record.refresh()
            expected = len(rows)
            text = "x" * rng.randrange(size)
            if record.append({"n": expected, "by": name, "text": text}, unless=lambda e=expected: len(rows) != e):
                break


def test_several_processes_write_one_record(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_count, args=(tmp_path / "r", name, 60, 20_000)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    rows = kept(tmp_path / "r")
    assert [row["n"] for row in rows] == list(range(180))
    assert sorted(row["by"] for row in rows) == sorted("abc" * 60)


def test_a_record_that_cannot_be_opened_says_so(tmp_path):
    with pytest.raises(InputError, match="cannot be opened"):
        Record(tmp_path / "no" / "r", print)
    with pytest.raises(InputError, match="cannot be read"):
        kept(tmp_path / "no" / "r")
