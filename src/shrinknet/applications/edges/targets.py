"""The targets of the network: edge maps of a photograph by Canny's detector or Sobel's operator."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from shrinknet.errors import OptionError


@dataclass(frozen=True)
class Canny:
    """Thin edges, 0 or 1, by OpenCV's Canny detector with its exact (L2) gradient and 3x3 Sobel kernels.

    Attributes:
        low, high: hysteresis thresholds on the gradient of 8-bit grey values, whose range is 0 to 1,140: an edge starts
            where the gradient is above `high` and continues while it is above `low`.
        sigma: standard deviation in pixels of the Gaussian that smooths the photograph first; 0: no smoothing.
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
    """Gradient magnitude by 3x3 Sobel kernels, divided by its largest possible value, the square root of 20: in [0, 1].

    The scale is the same for every photograph, so that a network that sees only a part can learn it. Values are integer
    multiples of 1 / 65535, which a 16-bit PNG file stores exactly.

    Attributes:
        sigma: standard deviation in pixels of the Gaussian that smooths the photograph first; 0: no smoothing.
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
    """Returns a target unchanged, or the one with the given name and default options.

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
