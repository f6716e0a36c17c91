import pytest

from emsa_jax.evaluation.measuring import tell_unread


@pytest.mark.parametrize("read, told", [(0, True), (1, True), (2, False), (4, False)])
def test_most_answers_that_cannot_be_read_are_told(capsys, read, told):
    rows = [
        {"score": 0.5 if i < read else None, "notes": [] if i < read else ["score is out of range"]} for i in range(4)
    ]
    tell_unread(rows, "clips.csv", 0.5)
    printed = capsys.readouterr()
    line = (
        f"warning: {4 - read} of 4 answers about clips.csv cannot be read, most often since score is out of range; ask"
    )
    assert (printed.out + printed.err).startswith(line) == told
    assert bool(printed.out + printed.err) == told
