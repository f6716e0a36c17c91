"""Tables for LaTeX, with the lines of the package booktabs."""

from collections.abc import Sequence

_ESCAPES = {
    **{char: f"\\{char}" for char in "%&_#${}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}


def escape(text: str) -> str:
    """A text that LaTeX sets as it stands. Letters that its font does not have are for XeLaTeX or LuaLaTeX."""
    return "".join(_ESCAPES.get(char, char) for char in " ".join(text.split()))


def table(caption: str, layout: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A floating table.

    Args:
      caption: as plain text.
      layout: a letter for each column, as `tabular` takes them.
      columns: their titles, as plain text.
      rows: cells that are LaTeX already.
    """
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(caption)}}}",
        rf"\begin{{tabular}}{{{layout}}}",
        r"\toprule",
        " & ".join(map(escape, columns)) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
    ]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"
