"""Options of the feature-based track. Imports no jax."""

from dataclasses import dataclass
from typing import Literal

from emsa_jax.config.fields import Options, option

NetworkName = Literal["mult", "mag_bert", "misa", "almt", "dlf"]


@dataclass(frozen=True, kw_only=True)
class FeatureOptions(Options):
    """One of five networks learns sentiment from a file of features."""

    job: Literal["features"] = option("features", "which job this is")
    network: NetworkName = option("mult", "MulT, MAG-BERT, MISA, ALMT or DLF")
    networks: tuple[NetworkName, ...] = option(
        (), "train each of these, each in a directory of its own, and put them into one table; empty: network alone"
    )
    data: str = option("", "a feature file as MMSA has them, with the parts train, valid and test")
    more_data: tuple[str, ...] = option(
        (), "further files for the same networks, each as DATASET=FILE, such as mosi=unaligned_50.pkl"
    )
    dataset: Literal["sims", "simsv2", "mosi", "mosei"] = option(
        "sims",
        "whose published settings are taken, and whose range of scores",
        source="MMSA 2.2.1, and the networks' own code",
    )
    preset: Literal["mmsa", "sound"] = option(
        "mmsa", "how it is trained: mmsa, as the published code does, or sound, as one would today"
    )
    change: tuple[str, ...] = option(
        (), "settings to change, each as NAME=VALUE, such as learning_rate=1e-3, of the training or of the network"
    )
    seeds: tuple[int, ...] = option((0, 1, 2, 3, 4), "seeds, trained together in one program", low=0, high=2**31 - 1)
    bert: str = option(
        "", "a directory of BERT that reads text_bert and is trained too; empty: the text features of the file are read"
    )
    bert_frozen: bool = option(False, "BERT is not trained: its states are computed once, for all seeds and epochs")
    align: Literal["none", "mmsa", "contiguous"] = option(
        "none",
        "audio and vision averaged to a frame for each step of the text: mmsa, over every L-th frame, hence the whole "
        "clip, as MMSA does it for MAG-BERT, or contiguous, over frames that follow each other",
    )
    resamples: int = option(500, "resamples of the bootstrap; 0: no intervals", low=0, high=10**6)
