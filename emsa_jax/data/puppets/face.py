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
    # nobody sits twice in the same place before a camera
    sway, scale, angle = sway + rng.uniform(-5, 5, 2), rng.uniform(0.75, 1), np.radians(rng.uniform(-12, 12))
    turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.stack([_frame(puppet, head, gap, shift, turn) for gap, shift in zip(openness, sway, strict=True)])


def _frame(puppet: Puppet, head: str, gap: float, shift: np.ndarray, turn: np.ndarray) -> np.ndarray:
    speaker = puppet.speaker
    image = Image.new("RGB", (SIZE * _SUPER,) * 2, _colour(speaker.backdrop_hue, 0.45, 0.4))
    draw = ImageDraw.Draw(image)

    def place(points):  # head coordinates in pixels (right, down) -> the large canvas
        points = np.asarray(points, float) * (speaker.width, 1) @ turn + shift + SIZE / 2
        return [tuple(p) for p in points * _SUPER]

    skin, ink = _colour(speaker.skin_hue, 0.72, 0.7), (25, 20, 30)
    draw.polygon(place(_oval(0, 0, 25, 26, 2 if head == "round" else 6)), fill=skin)
    for side in (-1, 1):
        draw.polygon(place(_oval(side * 10, -5, 4, 4)), fill=(250, 250, 250))
        draw.polygon(place(_oval(side * 10, -5, 2.2, 2.2)), fill=ink)
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


def _oval(x: float, y: float, width: float, height: float, power: float = 2) -> np.ndarray:
    """A superellipse around (x, y): [48, 2] points; power 2 is round, more is squarer."""
    at = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    c, s = np.cos(at), np.sin(at)
    bend = 2 / power
    return np.stack([x + width * np.sign(c) * abs(c) ** bend, y + height * np.sign(s) * abs(s) ** bend], -1)


def _colour(hue: float, lightness: float, saturation: float) -> tuple[int, int, int]:
    return tuple(round(255 * c) for c in hls_to_rgb(hue / 360, lightness, saturation))
