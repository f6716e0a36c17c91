"""Short answers side by side: the G answers to a prompt in fewer than G rows, each as long as one answer may be."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct


@struct.dataclass
class Packing:
    """Where G answers of C slots lie in R rows of C slots.

    Attributes:
      source: [N, R, C] int32, which of the prompt's G * C answer slots is here; -1 for none.
      place: [N, G, C] int32, in which of the R * C slots an answer's slot is; those behind its end are anywhere.
    """

    source: jax.Array
    place: jax.Array

    @property
    def segment(self) -> jax.Array:
        """[N, R, C] int32: which answer each slot belongs to, -1 for none."""
        return jnp.where(self.source < 0, -1, self.source // self.place.shape[-1])

    @property
    def slot(self) -> jax.Array:
        """[N, R, C] int32: which slot of its answer each is."""
        return jnp.maximum(self.source, 0) % self.place.shape[-1]

    def pack(self, answers: jax.Array) -> jax.Array:
        """[N, G, C] -> [N, R, C]; what stands in empty slots means nothing."""
        return _take(answers, self.source)

    def unpack(self, rows: jax.Array) -> jax.Array:
        """[N, R, C] -> [N, G, C]; what stands behind an answer's end means nothing."""
        return _take(rows, self.place)

    def with_one_more(self) -> Packing:
        """For G + 1 answers in R + 1 rows: the last answer has the last row for itself."""
        n, _, c = self.source.shape
        slots = jnp.broadcast_to(jnp.arange(c, dtype=jnp.int32), (n, 1, c))
        return Packing(
            jnp.concatenate([self.source, self.place.shape[1] * c + slots], axis=1),
            jnp.concatenate([self.place, self.source.shape[1] * c + slots], axis=1),
        )


def pack_rows(lengths: np.ndarray, slots: int, sizes: tuple[int, ...]) -> Packing:
    """First-fit decreasing: answers of lengths [N, G] in as few rows of `slots` as one of `sizes` allows.

    Host arrays. sizes: the row counts that are compiled, rising; the last must be G, which always suffices.
    """
    (n, g), length = lengths.shape, np.maximum(lengths, 1)
    row, start = np.zeros((n, g), np.int32), np.zeros((n, g), np.int32)
    used = np.zeros((n, g), np.int32)  # slots of each row
    for i in range(n):
        for j in np.argsort(-length[i], kind="stable"):
            row[i, j] = np.argmax(used[i] + length[i, j] <= slots)
            start[i, j] = used[i, row[i, j]]
            used[i, row[i, j]] += length[i, j]
    rows = next(size for size in sizes if size > row.max())
    slot = np.arange(slots, dtype=np.int32)
    place = row[..., None] * slots + start[..., None] + slot
    source = np.full((n, rows * slots), -1, np.int32)
    prompt, answer, at = np.nonzero(slot < length[..., None])
    source[prompt, place[prompt, answer, at]] = answer * slots + at
    return Packing(source.reshape(n, rows, slots), np.minimum(place, rows * slots - 1).astype(np.int32))


def _take(values: jax.Array, indices: jax.Array) -> jax.Array:
    flat = values.reshape(values.shape[0], -1)
    return jnp.take_along_axis(flat, jnp.maximum(indices, 0).reshape(flat.shape[0], -1), axis=1).reshape(indices.shape)
