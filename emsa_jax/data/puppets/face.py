"""The face: a big simple head that fills the frame. Mouth curvature and brow tilt are what matters."""
from colorsys import hls_to_rgb

import numpy as np
from PIL import Image, ImageDraw

from emsa_jax.data.puppets.world import Puppet

SIZE = 56  # pixels a side
_SUPER = 3  # drawn this much larger, then box-averaged


def draw_face(puppet: Puppet, head: str, openness: np.ndarray) -> np.ndarray:
    """Frames uint8 [F, 56, 56, 3]; openness float [F] in [0, 1] opens the mouth as the voice sounds.
    head is "round" or "square"."""
    rng = np.random.default_rng((*puppet.key, 0))
    phase = rng.uniform(0, 2 * np.pi, 2)
    at = np.arange(len(openness)) / max(len(openness), 1) * 2 * np.pi
    sway = np.stack([0.8 * np.sin(at + phase[0]), 0.6 * np.sin(2 * at + phase[1])], -1)
    return np.stack([_frame(puppet, head, gap, shift) for gap, shift in zip(openness, sway, strict=True)])


def _frame(puppet: Puppet, head: str, gap: float, shift: np.ndarray) -> np.ndarray:
    speaker = puppet.speaker
    image = Image.new("RGB", (SIZE * _SUPER,) * 2, _colour(speaker.backdrop_hue, 0.45, 0.4))
    draw = ImageDraw.Draw(image)

    def place(points):  # head coordinates in pixels (right, down) -> the large canvas
        points = np.asarray(points, float) * (speaker.width, 1) + shift + SIZE / 2
        return [tuple(p) for p in points * _SUPER]

    skin, ink = _colour(speaker.skin_hue, 0.72, 0.7), (25, 20, 30)
    outline = place([(-25, -26), (25, 26)])
    if head == "round":
        draw.ellipse(outline, fill=skin)
    else:
        draw.rounded_rectangle(outline, radius=9 * _SUPER, fill=skin)
    for side in (-1, 1):
        draw.ellipse(place([(side * 10 - 4, -9), (side * 10 + 4, -1)]), fill=(250, 250, 250))
        draw.ellipse(place([(side * 10 - 2.2, -7.2), (side * 10 + 2.2, -2.8)]), fill=ink)
        height, tilt = -14 - 3 * puppet.lift, 4 * puppet.brow
        brow = place([(side * 4, height + tilt), (side * 17, height - tilt)])
        draw.line(brow, fill=ink, width=int(2.4 * _SUPER))
    u = np.linspace(-1, 1, 15)
    upper = 11 - 9 * puppet.mouth * (u**2 - 0.45)
    lower = upper + 0.5 + 4 * gap * (1 - u**2)
    lips = place(np.stack([13 * u, upper], -1)), place(np.stack([13 * u, lower], -1))
    draw.polygon(lips[0] + lips[1][::-1], fill=(120, 10, 30))
    for lip in lips:
        draw.line(lip, fill=(120, 10, 30), width=int(2.2 * _SUPER), joint="curve")
    return np.asarray(image.reduce(_SUPER))


def _colour(hue: float, lightness: float, saturation: float) -> tuple[int, int, int]:
    return tuple(round(255 * c) for c in hls_to_rgb(hue / 360, lightness, saturation))
