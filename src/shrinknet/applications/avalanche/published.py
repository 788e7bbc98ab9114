"""The numbers of the report, and where its arithmetic went wrong.

Source: M. Alharbi, T. Faut, A. Gumina, K. Kelso, O. Miller, "Predicting Avalanche Field in Images Using Convolutional
Neural Networks and Edge Detection", April 2020.

The number of windows. The report gives N = sum_k k * sum_j j * sum_i i, with k up to d, j up to H and i up to W, which
adds up the *positions* instead of counting them: a row of W pixels contributes W (W + 1) / 2 instead of W. The number
of pixels in a window has the same error. There are (H - h + 1) (W - w + 1) windows of h w d values each; the channels
are part of a window and do not multiply the number of windows. For the report's example, 4256 x 3694 pixels and windows
of 33 x 33, that is 15,468,288 windows of 3,267 values, not 37 x 10^13 of 314,721. As bytes it is 50.5 GB for one image,
which is indeed more than the 35 GB that the authors had; the 12 x 10^19 bytes that they state are 3 x 10^9 times those
35 GB, not "almost double".
"""

from __future__ import annotations

import pandas as pd

from shrinknet.imaging.windows import window_count

EXAMPLE = (4256, 3694, 3)  # height, width and channels of the image in the report's example
EXAMPLE_WINDOW = (33, 33)
MEMORY = 35 * 10**9  # bytes that the authors had
COMPONENTS, VARIANCE = 9, 0.99  # "9 transformed features account for 99% of the feature variation"
EPOCHS = 5
LEARNING_RATE = 1e-3

# Tables 1 and 2. Seconds on a TPU with eight cores.
RESULTS = pd.DataFrame(
    [
        ("CNN (17, 17, 1)", 15.77, 1.02, 0.922),
        ("CNN (17, 17, 3)", 44.46, 0.367, 0.874),
        ("CNN (33, 33, 3)", 67.32, 0.367, 0.876),
        ("VGG16 (33, 33, 3)", 168.0, 0.310, 0.901),
        ("RN50 (33, 33, 3)", 1370.0, 0.310, 0.901),
        ("IRNv2 (76, 76, 3)", 1372.0, 0.310, 0.901),
    ],
    columns=["model", "seconds", "loss", "accuracy"],
)

# Section 4.3: where the histograms of red, green and blue have their peaks.
PEAKS = {"sunny": (200, 255), "shady": (100, 150)}


def published_window_count(height: int, width: int, channels: int) -> int:
    """The number of windows by the report's formula, which does not count them.

    Example:
        >>> published_window_count(4256, 3694, 3)
        370943582819040
    """
    return (channels * (channels + 1) // 2) * (height * (height + 1) // 2) * (width * (width + 1) // 2)


def arithmetic() -> pd.DataFrame:
    """The report's example beside the right numbers: quantity, published, right."""
    height, width, channels = EXAMPLE
    window = EXAMPLE_WINDOW
    values = window[0] * window[1] * channels
    count = window_count((height, width), window)
    published_values = (window[0] * (window[0] + 1) // 2) * (window[1] * (window[1] + 1) // 2)
    published = published_window_count(height, width, channels)
    rows = [
        ("windows", published, count),
        ("values of a window", published_values, values),
        ("bytes of all windows, uint8", published * published_values, count * values),
    ]
    return pd.DataFrame([(name, float(one), float(other)) for name, one, other in rows],
                        columns=["quantity", "published", "right"])  # fmt: skip
