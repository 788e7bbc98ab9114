"""What the network learns: the edge maps that Canny's detector and Sobel's operator make of a photograph."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from shrinknet.errors import OptionError


@dataclass(frozen=True)
class Canny:
    """Thin edges, 0 or 1, by OpenCV's Canny detector with its exact (L2) gradient and 3x3 Sobel kernels.

    Attributes:
        low, high: thresholds of the hysteresis on the gradient of 8-bit grey values, whose range is 0 to 1,140: an
            edge starts where the gradient is above `high` and goes on while it is above `low`.
        sigma: standard deviation in pixels of the Gaussian that smooths the photograph first; 0: none.
    """

    low: float = 100.0
    high: float = 200.0
    sigma: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.low <= self.high and self.sigma >= 0):
            raise OptionError(f"Canny expects 0 <= low <= high and sigma of 0 or more; received {self}.")

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The edge map of a grey image, shape (height, width), values in [0, 1]; float32, of the same shape."""
        import cv2

        grey = np.rint(255 * _smoothed(image, self.sigma)).astype(np.uint8)
        return (cv2.Canny(grey, self.low, self.high, L2gradient=True) > 0).astype(np.float32)


@dataclass(frozen=True)
class Sobel:
    """Gradient magnitude by 3x3 Sobel kernels, divided by its greatest possible value, the root of 20: in [0, 1].

    The scale is the same for every photograph, so that it can be learned by a network that sees a part only. Values
    are whole multiples of 1 / 65535, so that a PNG file of 16 bits holds them exactly.

    Attributes:
        sigma: standard deviation in pixels of the Gaussian that smooths the photograph first; 0: none.
    """

    sigma: float = 0.0

    def __post_init__(self) -> None:
        if not self.sigma >= 0:
            raise OptionError(f"Sobel expects sigma of 0 or more; received {self}.")

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The edge map of a grey image, shape (height, width), values in [0, 1]; float32, of the same shape."""
        import cv2

        smooth = _smoothed(image, self.sigma)
        across, down = (cv2.Sobel(smooth, cv2.CV_32F, *order, ksize=3) for order in ((1, 0), (0, 1)))
        share = np.hypot(across, down) / np.float32(math.sqrt(20))
        return np.rint(65535 * share).astype(np.float32) / np.float32(65535)


Target = Canny | Sobel
TARGETS: dict[str, type[Canny] | type[Sobel]] = {"canny": Canny, "sobel": Sobel}


def target_named(target: str | Target) -> Target:
    """A target as it is, or by its name with the default options.

    Raises:
        OptionError: no target has this name.
    """
    if not isinstance(target, str):
        return target
    if target not in TARGETS:
        raise OptionError(f"There is no target {target!r}; expected one of {', '.join(TARGETS)}, or a Canny or Sobel.")
    return TARGETS[target]()


def _smoothed(image: np.ndarray, sigma: float) -> np.ndarray:
    import cv2

    image = np.ascontiguousarray(image, np.float32)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma)) if sigma > 0 else image
