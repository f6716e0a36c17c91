"""Append-only files: whole entries or none, whoever is killed while writing, and whoever writes at the same time."""

import multiprocessing
import random

import pytest

from emsa_jax.append_log import AppendLog, CheckedJsonLines, JsonLines, PackedEntries, cut_torn_entry, read_log
from emsa_jax.disk import DiskFull
from emsa_jax.errors import InputError

CHECKED, PLAIN = CheckedJsonLines(), JsonLines()


def kept(path, format=CHECKED):
    return list(read_log(path, format))


def append(path, *rows, format=CHECKED):
    log = AppendLog(path, format)
    log.append(*rows)
    log.close()


def test_rows_come_back_as_they_were(tmp_path):
    rows = [{"id": "a\u2028b\n", "text": "“so”, 词", "score": -0.25, "deep": {"list": [1, None, True]}}, {"id": "b"}]
    append(tmp_path / "r", *rows)
    append(tmp_path / "r", {"id": "c"})
    assert kept(tmp_path / "r") == [*rows, {"id": "c"}]
    assert all(CHECKED.has_checksum(line) for line in (tmp_path / "r").read_bytes().splitlines(keepends=True))
    assert not CHECKED.has_checksum(b'{"id": "a"}\n')


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
    log = AppendLog(tmp_path / "r", CHECKED, lambda row, place: places.setdefault(row["id"], place))
    for i in range(50):
        log.append({"id": i, "text": "x" * i * 5000})
    assert [log.at(places[i])["id"] for i in (49, 0, 7)] == [49, 0, 7]
    again = {}
    AppendLog(tmp_path / "r", CHECKED, lambda row, place: again.setdefault(row["id"], place))
    assert again == places


def test_nothing_half_written_on_a_full_disk(tmp_path, monkeypatch):
    seen = []
    log = AppendLog(tmp_path / "r", CHECKED, lambda row, place: seen.append(row))
    log.append({"id": "a"})
    plain = log._file

    class Full:
        def write(self, content):
            if len(content) > 10:
                return plain.write(content[:10])
            raise OSError(28, "No space left on device")

        def __getattr__(self, name):
            return getattr(plain, name)

    log._file = Full()
    with pytest.raises(DiskFull, match="the disk is full"):
        log.append({"id": "b", "text": "x" * 5})
    log._file = plain
    assert seen == kept(tmp_path / "r") == [{"id": "a"}]
    log.append({"id": "c"})
    assert seen == kept(tmp_path / "r") == [{"id": "a"}, {"id": "c"}]


def _count(path, name, times, size):
    """Appends numbers that rise by one, whoever writes: each process must have seen all rows before its own."""
    rows = []
    log = AppendLog(path, CHECKED, lambda row, place: rows.append(row))
    rng = random.Random(name)
    for _ in range(times):
        while True:
            log.refresh()
            expected = len(rows)
            text = "x" * rng.randrange(size)
            if log.append({"n": expected, "by": name, "text": text}, unless=lambda e=expected: len(rows) != e):
                break


def test_several_processes_write_one_file(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_count, args=(tmp_path / "r", name, 60, 20_000)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    rows = kept(tmp_path / "r")
    assert [row["n"] for row in rows] == list(range(180))
    assert sorted(row["by"] for row in rows) == sorted("abc" * 60)


def test_a_file_that_cannot_be_opened_says_so(tmp_path):
    with pytest.raises(InputError, match="cannot be opened"):
        AppendLog(tmp_path / "no" / "r", CHECKED)
    with pytest.raises(InputError, match="cannot be read"):
        kept(tmp_path / "no" / "r")


def test_lines_are_cut_at_the_last_whole_one(tmp_path):
    append(tmp_path / "r", {"id": "\ud800\u2028"}, {"id": "b"}, format=PLAIN)
    assert kept(tmp_path / "r", PLAIN) == [{"id": "\ud800\u2028"}, {"id": "b"}]
    content = (tmp_path / "r").read_bytes()
    (tmp_path / "r").write_bytes(content + b'{"id": "c')
    assert len(kept(tmp_path / "r", PLAIN)) == 2
    cut_torn_entry(tmp_path / "r")
    assert (tmp_path / "r").read_bytes() == content
    cut_torn_entry(tmp_path / "none")
    (tmp_path / "r").write_bytes(content + b"[]\n")
    with pytest.raises(InputError, match="r, line 3 is damaged; remove the line"):
        kept(tmp_path / "r", PLAIN)


def test_packed_entries_cut_anywhere_keep_what_is_whole(tmp_path):
    path, values = tmp_path / "r", [["a", b"\0" * 40, ""], ["b", None, "why"], ["c", b"x", ""]]
    sizes, packed = [0], PackedEntries()
    for value in values:
        append(path, value, format=packed)
        sizes.append(path.stat().st_size)
    content = path.read_bytes()
    for size in range(len(content) + 1):
        whole = sum(size >= s for s in sizes) - 1
        path.write_bytes(content[:size])
        assert kept(path, packed) == values[:whole]
        append(path, "next", format=packed)
        assert kept(path, packed) == [*values[:whole], "next"]
        assert path.read_bytes()[: sizes[whole]] == content[: sizes[whole]]


@pytest.mark.parametrize("place", [3, 13, 30])
def test_packed_entries_end_at_a_flipped_bit(tmp_path, place):
    append(tmp_path / "r", "x" * 8, "y" * 8, format=PackedEntries())  # a header has 12 bytes, and each of these 9
    content = bytearray((tmp_path / "r").read_bytes())
    content[place] ^= 4
    (tmp_path / "r").write_bytes(content)
    assert kept(tmp_path / "r", PackedEntries()) == (["x" * 8] if place == 30 else [])


def test_files_written_before_are_read(tmp_path):
    """The bytes of each format, as they lie on disks."""
    (tmp_path / "r").write_bytes(b'{"id":"a","score":0.5,"crc32":"2a0f6b2e"}\n')
    assert kept(tmp_path / "r") == [{"id": "a", "score": 0.5}]
    (tmp_path / "p").write_bytes(bytes.fromhex("0700000000000000196c83fc93a161c40178a0"))
    assert kept(tmp_path / "p", PackedEntries()) == [["a", b"x", ""]]


def test_numbers_that_json_cannot_say_are_null():
    assert JsonLines().encode({"a": [float("nan"), 1.0]}) == b'{"a": [null, 1.0]}\n'
