"""How clips become records."""

from dataclasses import dataclass

from emsa_jax.errors import InputError


@dataclass(frozen=True)
class PrepareOptions:
    """How clips become records, and when they do not.

    frames: "uniform" for num_frames of each video (fewer where it has fewer), "fps" for fps a second, at least
    min_frames and at most max_frames, by Qwen's rule. min_pixels, max_pixels: bounds of height x width of a frame.
    frame_format: "jpeg" or "raw". jpeg_quality: 1 to 100. shard_bytes: a shard is closed when it has grown beyond
    this. workers: decoding processes, 0 for one per CPU. max_seconds: longer clips are quarantined. timeout_seconds:
    so is a clip whose decoding takes longer. max_bad_share: of the clips with video or
    sound; more missing or broken ones are an error.
    """

    frames: str = "uniform"
    num_frames: int = 16
    fps: float = 2.0
    min_frames: int = 4
    max_frames: int = 768
    min_pixels: int = 3136
    max_pixels: int = 128 * 28 * 28
    frame_format: str = "jpeg"
    jpeg_quality: int = 95
    shard_bytes: int = 256 * 2**20
    workers: int = 0
    max_seconds: float = 300.0
    timeout_seconds: float = 600.0
    max_bad_share: float = 0.5

    def __post_init__(self):
        if self.frames not in ("uniform", "fps"):
            raise InputError(f"frames is {self.frames!r}; it must be 'uniform' or 'fps'")
        if not 2 <= self.min_frames <= self.max_frames:
            raise InputError(
                f"min_frames {self.min_frames} and max_frames {self.max_frames} must satisfy "
                "2 <= min_frames <= max_frames"
            )
        if self.frame_format not in ("jpeg", "raw"):
            raise InputError(f"frame_format is {self.frame_format!r}; it must be 'jpeg' or 'raw'")
        if not 1 <= self.jpeg_quality <= 100:
            raise InputError(f"jpeg_quality is {self.jpeg_quality}; it must lie in 1..100")
        if not 28 * 28 <= self.min_pixels <= self.max_pixels:
            raise InputError(
                f"min_pixels {self.min_pixels} and max_pixels {self.max_pixels} must satisfy "
                "784 <= min_pixels <= max_pixels"
            )
        if not 0 <= self.max_bad_share <= 1:
            raise InputError(f"max_bad_share is {self.max_bad_share}; it must lie in 0..1")
        for name in ("num_frames", "fps", "shard_bytes", "max_seconds", "timeout_seconds"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}; it must be positive")
        if self.workers < 0:
            raise InputError(f"workers is {self.workers}; it must be 0 (one per CPU) or more")
