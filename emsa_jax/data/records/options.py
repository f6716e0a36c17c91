"""How clips become records."""

from dataclasses import dataclass

from emsa_jax.errors import InputError


@dataclass(frozen=True)
class PrepareOptions:
    """How clips become records, and when they do not.

    num_frames: frames sampled from each video (fewer where it has fewer). min_pixels, max_pixels: bounds of
    height x width of a frame. frame_format: "jpeg" or "raw". jpeg_quality: 1 to 100. shard_bytes: a shard is
    closed when it has grown beyond this. workers: decoding processes, 0 for one per CPU. max_seconds: longer
    clips are set aside. timeout_seconds: so is a clip whose decoding takes longer.
    """

    num_frames: int = 16
    min_pixels: int = 3136
    max_pixels: int = 128 * 28 * 28
    frame_format: str = "jpeg"
    jpeg_quality: int = 95
    shard_bytes: int = 256 * 2**20
    workers: int = 0
    max_seconds: float = 300.0
    timeout_seconds: float = 600.0

    def __post_init__(self):
        if self.frame_format not in ("jpeg", "raw"):
            raise InputError(f"frame_format is {self.frame_format!r}; it must be 'jpeg' or 'raw'")
        if not 1 <= self.jpeg_quality <= 100:
            raise InputError(f"jpeg_quality is {self.jpeg_quality}; it must lie in 1..100")
        if not 28 * 28 <= self.min_pixels <= self.max_pixels:
            raise InputError(
                f"min_pixels {self.min_pixels} and max_pixels {self.max_pixels} must satisfy "
                "784 <= min_pixels <= max_pixels"
            )
        for name in ("num_frames", "shard_bytes", "max_seconds", "timeout_seconds"):
            if getattr(self, name) <= 0:
                raise InputError(f"{name} is {getattr(self, name)}; it must be positive")
        if self.workers < 0:
            raise InputError(f"workers is {self.workers}; it must be 0 (one per CPU) or more")
