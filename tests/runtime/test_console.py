import io
import os
import subprocess
import sys
import time

from emsa_jax.runtime import console
from emsa_jax.runtime.console import progress, say, told_if_long


def test_lines_where_there_is_no_terminal(capsys, monkeypatch):
    now = iter(range(0, 10_000, 4))  # seconds: each look at the clock is 4 later
    monkeypatch.setattr(console.time, "monotonic", lambda: float(next(now)))
    with progress(110, "grpo", start=100) as advance:
        for _ in range(10):
            advance(note="loss 0.5")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "grpo 103/110, 0:00:12 gone, 0:00:28 left  loss 0.5"
    assert lines[-1] == "grpo 110/110, 0:00:40 gone, 0:00:00 left  loss 0.5" and len(lines) == 4


def test_a_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with progress(4, "[bold]sft[/bold]") as advance:
        for _ in range(4):
            advance(note="\x1b[31mred")
    shown = terminal.getvalue()
    assert "4/4" in shown and "[bold]sft[/bold]" in shown and "\\x1b[31mred" in shown


def test_what_takes_long_is_told_while_it_does(capsys):
    with told_if_long("compiling update", seconds=0.02):
        time.sleep(0.2)
        assert capsys.readouterr().out == "compiling update\n"
    with told_if_long("compiling update", seconds=0.2):
        pass
    time.sleep(0.3)
    assert capsys.readouterr().out == ""


def test_say_tames_control_characters(capsys):
    say("wave \x1b]0;title\x07 \u4f60\n\tend")
    assert capsys.readouterr().out == "wave \\x1b]0;title\\x07 \u4f60\n\tend\n"


LINES = "from emsa_jax.runtime.console import progress, say\nfor i in range(20_000):\n    say('积极 ' * 20)\n"


def test_work_goes_on_where_nobody_reads():
    script = LINES + "import sys; print('done', file=sys.stderr)"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=-1, stderr=-1, text=True)  # two pipes
    process.stdout.readline()
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == ("done\n", 0)


def test_what_the_terminal_cannot_spell_is_escaped():
    done = subprocess.run(
        [sys.executable, "-c", LINES.replace("20_000", "1")],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    assert done.stdout.startswith(r"\u79ef\u6781 ") and done.returncode == 0, done.stderr
