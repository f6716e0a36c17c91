"""Tables that LaTeX can set: compiled where pdflatex is installed, balanced everywhere."""

import re
import shutil
import subprocess

import pytest

from emsa_jax.report import latex

HARD = r"50% & more_of #1 $x$ {a} \cmd ~ ^ <b> | c ±"


def balanced(text):
    """Whether every brace that LaTeX sees is closed."""
    depth = 0
    for char in re.sub(r"\\.", "", text):
        depth += (char == "{") - (char == "}")
        assert depth >= 0
    return depth == 0


def compiles(text, directory):
    """Whether pdflatex makes a page of tables."""
    lines = [r"\documentclass{article}", r"\usepackage{booktabs}", r"\begin{document}", text, r"\end{document}"]
    (directory / "it.tex").write_text("\n".join(lines))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "it.tex"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, errors="replace")
    return done.returncode == 0


def test_every_sign_is_escaped():
    said = latex.escape(HARD)
    assert balanced(said) and said.startswith(r"50\% \& more\_of \#1 \$x\$ \{a\} \textbackslash{}cmd")
    assert not re.search(r"(?<!\\)[%&_#]", said) and latex.escape("two\nlines") == "two lines"


def test_a_table():
    text = latex.table("Of 50%", "lc", ["", "a_b"], [["one", "1.0"], ["two", r"\textbf{2.0}"]])
    assert balanced(text)
    assert text.splitlines()[3:8] == [
        r"\begin{tabular}{lc}",
        r"\toprule",
        r" & a\_b \\",
        r"\midrule",
        r"one & 1.0 \\",
    ]


def test_it_compiles(tmp_path):
    """The text is the same where no LaTeX is; there the balance of braces is what is checked."""
    text = latex.table(HARD, "lc", [HARD, HARD], [[latex.escape(HARD), r"0.5 {\scriptsize[0.1, 0.9]}"]] * 2)
    assert balanced(text)
    if shutil.which("pdflatex"):
        assert compiles(text, tmp_path)
        with pytest.raises(AssertionError):
            assert compiles(text.replace(r"\%", "%"), tmp_path)
