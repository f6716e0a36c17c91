"""docs/options.md: python -m emsa_jax.settings.document > docs/options.md"""

from collections.abc import Iterable

from emsa_jax.config.fields import Leaf, Options, groups, leaves, type_name, value_text
from emsa_jax.settings.config import Config
from emsa_jax.settings.job_options import JOBS

HEAD = """# Options

Every field that can be set as `--config.FIELD=VALUE`, with its default before a preset changes it. `configs/grpo.py`
without a preset is the embedded world, which has some values of its own, as `--help` shows. This page is made by
`python -m emsa_jax.settings.document > docs/options.md`. The same text is printed by

    python -m emsa_jax.main --config=configs/grpo.py --help            # all fields, with the preset's defaults
    python -m emsa_jax.main --config=configs/grpo.py --help=hint       # one group, or one field: --help=hint.mode
    python -m emsa_jax.main --config=configs/grpo.py --print_config    # the values, and where each comes from

Source: the paper's section, or "ours". Fields marked *experimental* are beyond what the papers ask for.
"""


def document() -> str:
    """The page, in Markdown."""
    run = Config()
    parts = [HEAD, f"## A run: {sum(1 for _ in leaves(run))} fields\n", _of(run)]
    for name, options in JOBS.items():
        parts += [f"## configs/{name}.py\n", _of(options())]
    return "\n".join(parts)


def _of(options: Options) -> str:
    """A table of the fields at the top, then one for each group; groups of a run that a job shares are named alone."""
    parts = [_table(leaf for leaf in leaves(options) if not leaf.group)]
    for name, group in groups(options):
        direct = [leaf for leaf in leaves(group, name) if leaf.group == name]
        if not isinstance(options, Config) and (name == "base" or name.startswith("base.")):
            parts += ["`base`: the fields of a run.\n"] if name == "base" else []
        elif direct:
            first = (type(group).__doc__ or "").split("\n")[0]
            parts += [f"### {name}\n", f"{first}\n", _table(direct)]
    return "\n".join(parts)


def _table(found: Iterable[Leaf]) -> str:
    rows = ["| field | default | type | what it is | unit, range | source |", "|---|---|---|---|---|---|"]
    for leaf in found:
        said = leaf.description
        mark = "*experimental*: " if said.experimental else ""
        bounds = ", ".join(filter(None, (said.unit, said.range)))
        cells = (f"`{leaf.path}`", f"`{value_text(leaf.value)}`", f"`{type_name(leaf.annotation)}`", mark + said.text)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in (*cells, bounds, said.source)) + " |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(document(), end="")
