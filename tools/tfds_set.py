"""Writes a prepared directory as a set of tensorflow-datasets.

    python tools/tfds_set.py DIRECTORY OUT [NAME]

What opens it, here and elsewhere, is printed at the end.
"""

import sys

from emsa_jax.data.tfds_builder import build
from emsa_jax.errors import InputError


def main(arguments: list[str]) -> int:
    """Exit status: 2 for bad input, which is told in one line."""
    if not 2 <= len(arguments) <= 3:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    try:
        path = build(*arguments)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f'tfds.builder_from_directory("{path}").as_data_source()')
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
