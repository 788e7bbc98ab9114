"""What the report says, and where: R. Terra, "Severstal Image Classification", 2 November 2020.

**Its figure 12 and the percentages over 100.** The report gives areas of up to 179.8 % of a plate. It counts, in its
words, "all non-zeroes in an array", and divides by height times width; but the array is a picture with three channels,
so that a pixel counts once for each channel that its colour has. The numbers tell how often that is. Every percentage
of a plate of 409,600 pixels is a whole number of counts: the minimum of class 3, 0.0561523 %, is 230. If a colour has
two channels above zero, all counts of its class are even; if it has three, all are multiples of three. Class 3 exceeds
100 %, so its colour has at least two, and 230 is no multiple of three: it has two. Of class 4 the minimum, 982, is no
multiple of three, and the median and the maximum are even, too. Of classes 1 and 2 the minimum, median and maximum are
all multiples of three, and odd numbers are among them. `channel_evidence` repeats this arithmetic. With 3, 3, 2 and
2 channels the mean areas are 1.07, 0.83, 6.43 and 8.63 % of a plate. For class 3 this is certain, for the others
likely. The rows of all data and of several classes mix colours; they cannot be corrected without the plates.

**Its split.** It names none, but its accuracies are fractions. 0.847222 on the test set is 61 of 72, and 0.916667 is
132 of 144: a tenth of the 720 and 1,440 images. 0.893822 on the training set is 463 of 518, and 0.917954 is 951 of
1,036: four fifths of what is left. So 72 % train, 18 % validate and 10 % test.

**Its F1.** The precision and the recall that it prints for the test sets give an F1 of 0.9259 and 0.8602, where it
prints 0.9256 and 0.8598: each is the mean over batches of the batch's own value, which is not the value of the whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

PIXELS = 256 * 1600  # of a plate
ROWS = 7_095  # of train.csv; section 5
DEFECT_IMAGES, CLEAN_IMAGES = 6_666, 5_902  # section 5
CLASS_ORDER = (3, 1, 4, 2)  # "[3], [1], [4] and [2]", from frequent to rare; section 5
DOMINANT_SHARE = 0.70  # "class [3] were dominant with more than 70% of defect dataset"; section 5
SEVERAL_SHARE = 0.04  # "multi class were very sparsely distributed with less than 4%"; section 5
EACH_CLASS, EACH_SIDE = 180, 720  # images a class; images with a defect, and without; "Classification"
SPLIT = (0.72, 0.18, 0.10)  # train, validation, test; derived, see above
EPOCHS = 30  # "Classification"
BATCH_SIZES = (8, 16, 32)  # "Results"
BENCHMARKS = {"B1": {"loss": 0.02, "dice": 0.8}, "B2": {"loss": 0.01, "dice": 0.7}}  # "Classification"

# Figure 12: "Pixels statistics for each class", in per cent as printed, of which `CHANNELS` is the unit.
FIGURE_12 = pd.DataFrame(
    [
        ("All_data", 12.1565, 5.64624, 17.6303, 179.805, 0.0561523),
        ("Class_1", 3.2164, 2.48218, 2.65488, 22.927, 0.213135),
        ("Class_2", 2.4916, 2.12183, 1.45352, 10.2708, 0.231445),
        ("Class_3", 12.8643, 5.99756, 19.016, 179.805, 0.0561523),
        ("Class_4", 17.2609, 12.4595, 15.2689, 94.1309, 0.239746),
        ("Class_multi", 18.6143, 13.3442, 16.2094, 117.14, 0.597168),
    ],
    columns=["source", "mean", "median", "std", "max", "min"],
)
CHANNELS = {"Class_1": 3, "Class_2": 3, "Class_3": 2, "Class_4": 2}  # above zero in each colour; derived, see above


@dataclass(frozen=True)
class Scores:
    """What a model reached: its loss, then shares of 1."""

    loss: float
    accuracy: float
    f1: float
    precision: float
    recall: float


# Figure 17, "Binary model metrics results", and figure 19, "Multiclass model metrics results"
BINARY = {
    "train": Scores(0.238817, 0.917954, 0.921498, 0.884169, 0.966085),
    "test": Scores(0.308860, 0.916667, 0.925556, 0.912857, 0.939231),
}
MULTICLASS = {
    "train": Scores(0.281925, 0.893822, 0.893985, 0.867077, 0.924242),
    "test": Scores(0.320426, 0.847222, 0.859759, 0.845915, 0.875000),
}


def corrected_figure_12() -> pd.DataFrame:
    """Figure 12 in per cent of a plate: each row over the channels of its colour; rows of mixed colours are missing.

    Returns:
        source, mean, median, std, max, min in per cent, and channels.
    """
    channels = FIGURE_12["source"].map(CHANNELS).astype(float)
    table = FIGURE_12.copy()
    numbers = ["mean", "median", "std", "max", "min"]
    table[numbers] = table[numbers].div(channels, axis=0)
    return table.assign(channels=channels)


def channel_evidence() -> pd.DataFrame:
    """What the counts behind figure 12 say about the channels of each colour.

    Returns:
        source, statistic; percent, as printed; count, the whole number of counted values that it stands for; by_two,
        by_three, whether that is a multiple. Left out are numbers that are printed with too few digits to tell, and
        statistics that need not be whole.
    """
    rows = []
    for _, row in FIGURE_12[FIGURE_12["source"].isin(CHANNELS)].iterrows():
        for statistic in ("min", "median", "max"):
            printed = float(row[statistic])
            digits = 6 - int(np.floor(np.log10(printed))) - 1  # six significant digits are printed
            margin = 0.5 * 10.0**-digits * PIXELS / 100
            count = round(printed * PIXELS / 100)
            if margin < 0.25 and abs(printed * PIXELS / 100 - count) <= margin + 1e-9:
                rows.append(
                    {"source": row["source"], "statistic": statistic, "percent": printed, "count": count,
                     "by_two": count % 2 == 0, "by_three": count % 3 == 0}
                )  # fmt: skip
    return pd.DataFrame(rows)
