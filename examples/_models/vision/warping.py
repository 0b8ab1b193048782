"""Images that are turned, stretched, moved and bent a little, so that there are more of them.

Bending is that of Simard, P. et al., "Best Practices for Convolutional Neural Networks Applied to
Visual Document Analysis", 2003, with random moves that are smooth since few places have their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

BENT = 5


@dataclass(frozen=True)
class Warp:
    """How far images are turned, stretched and moved at most, and bent.

    Parameters
    ----------
    turn : float
        Radians.
    stretch : float
        Share of the height and, drawn apart, of the width.
    shear : float
    move : float
        Pixels.
    bend : float
        Pixels; the deviation of the moves of `BENT` x `BENT` places, between which others lie.
    """

    turn: float = 0.2
    stretch: float = 0.15
    shear: float = 0.15
    move: float = 2.0
    bend: float = 0.0

    def __call__(self, images: Array, rng: np.random.Generator) -> Array:
        """Draw a map for each of the images (count, height, width); outside, they are 0."""
        from scipy.ndimage import map_coordinates

        count, height, width = images.shape
        angle = rng.uniform(-self.turn, self.turn, count)
        scale = np.exp(rng.uniform(-self.stretch, self.stretch, (2, count)))
        shear = rng.uniform(-self.shear, self.shear, count)
        cos, sin = np.cos(angle), np.sin(angle)
        maps = np.array([[cos * scale[0], -sin + shear], [sin, cos * scale[1]]])
        middle = np.array([height - 1, width - 1]) / 2
        grid = np.indices((height, width)).reshape(2, -1) - middle[:, np.newaxis]
        places = np.einsum("ijn,jp->inp", maps, grid) + middle[:, np.newaxis, np.newaxis]
        places += rng.uniform(-self.move, self.move, (2, count))[..., np.newaxis]
        if self.bend:
            moves = self.bend * rng.standard_normal((2, count, BENT, BENT))
            rows, columns = _between(height), _between(width)
            places += (rows @ moves @ columns.T).reshape(places.shape)
        which = np.broadcast_to(np.arange(count)[:, np.newaxis], places.shape[1:])
        warped = map_coordinates(images, [which, *places], order=1, output=images.dtype)
        return warped.reshape(images.shape)


def _between(side: int) -> Array:
    """Weights (side, BENT) of linear interpolation between `BENT` places."""
    places, pixels = np.arange(BENT), np.linspace(0, BENT - 1, side)
    weights: Array = np.maximum(1 - np.abs(pixels[:, np.newaxis] - places), 0)
    return weights
