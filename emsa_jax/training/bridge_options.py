"""The options of stages 1 and 2 of XEmoGPT, in which a cue bridge is trained. Imports no jax."""

from dataclasses import dataclass
from typing import Literal

from emsa_jax.config.fields import Options, option
from emsa_jax.learning.learning_options import OptimizerOptions


@dataclass(frozen=True)
class BridgesOptions(Options):
    """A cue bridge learns from clips and captions."""

    job: Literal["bridges"] = option("bridges", "which job this is")
    kind: Literal["vecb", "aecb"] = option("vecb", "vecb, behind CLIP's frames; aecb, behind HuBERT's sound")
    pairs: str = option("", 'a jsonl of clips: {"id", "path", "caption"}, with "split" (valid, test) where not train')
    encoder: str = option("", "a directory of CLIP (vecb), HuBERT or Whisper (aecb), which stays frozen")
    text_encoder: str = option("", "a directory of CLIP or of a sentence encoder for the captions; empty: encoder")
    out: str = option("", "the directory to write the bridge to; empty: WORKDIR/bridge", affects_results=False)
    layers: int = option(2, "of the bridge", low=1, high=100, source="XEmoGPT, section IV")
    frames: int = option(16, "evenly spaced frames of a video", low=2, high=512, source="XEmoGPT, section IV")
    seconds: float = option(12.0, "of a sound, from its start", unit="s", above=0, source="XEmoGPT's inference code")
    output_size: int = option(768, "of the space in which clips and captions are compared", low=1, high=2**16)
    order_weight: float = option(1.0, "of the order of frames in the loss (w1)", low=0, source="ours: not printed")
    mask_weight: float = option(
        1e-3, "of hidden frames in the loss (w2), a sum of squares", low=0, source="ours: not printed"
    )
    mask_rate: float = option(
        0.5, "probability that a frame is hidden", low=0, below=1, source="XEmoGPT, section III-B"
    )
    mask_with: Literal["token", "zero"] = option(
        "token", "what stands for a hidden frame: a learned token, or 0 as in the public code", source="XEmoGPT"
    )
    both_ways: bool = option(False, "whether captions look for their clips too", source="XEmoGPT: no")
    temperature: float = option(0.07, "what cosines are divided by at first; it is learned", above=0)
    batch_size: int = option(512, "pairs of an update; all there are, if fewer", low=2, source="XEmoGPT: 512 and 448")
    micro_batches: int = option(
        1, "parts in which a batch is computed; the result is the same", low=1, affects_results=False
    )
    epochs: int = option(30, "times that all pairs are seen", low=1, source="XEmoGPT, section IV")
    save_every: int = option(50, "updates between checkpoints", low=1, affects_results=False)
    seed: int = option(0, "of all that is random", low=0, high=2**31 - 1)
    optimizer: OptimizerOptions = OptimizerOptions(learning_rate=3e-4)
