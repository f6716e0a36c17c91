"""Which reader a path asks for."""

from pathlib import Path

from emsa_jax.data import labels_csv
from emsa_jax.data.mmsa import read_mmsa
from emsa_jax.data.sample import Sample
from emsa_jax.data.table import read_table
from emsa_jax.errors import InputError


def read_samples(path: str | Path, score_range: tuple[float, float], language: str) -> list[Sample]:
    """A directory is an MMSA data set; a csv too if it has a column `video_id`, else it is a plain table."""
    path = Path(path)
    if path.is_dir():
        return read_mmsa(path, score_range, language)
    if not path.is_file():
        raise InputError(f"{path} does not exist; give a data set's directory or a csv file")
    if path.suffix.lower() != ".csv":
        raise InputError(f"{path} is neither a directory nor a .csv file")
    reader = read_mmsa if "video_id" in labels_csv.header(path) else read_table
    return reader(path, score_range, language)
