"""Principal components of windows: how much of the variance the first ones explain."""

from __future__ import annotations

import numpy as np
import pandas as pd

from shrinknet.errors import DataError, OptionError
from shrinknet.extras import require_extra


def explained_variance(windows: np.ndarray, count: int | None = None, *, standardized: bool = False) -> pd.DataFrame:
    """The share of the variance that the first components explain.

    Args:
        windows: shape (windows, height, width, channels); more windows than components.
        count: components; None: as many as windows and values allow.
        standardized: whether each value is divided by its deviation first, as the report's references do.

    Returns:
        component, from 1; share, of this one; cumulative, of all up to it; both in [0, 1].

    Raises:
        DataError: the windows are of another shape, or all the same.
        OptionError: there are not so many components.
        MissingExtraError: scikit-learn is not installed.
    """
    require_extra("avalanche", "sklearn")
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    if windows.ndim != 4 or len(windows) < 2:
        raise DataError(
            "Expected at least two windows of shape (windows, height, width, channels); received an array of "
            f"{windows.shape}."
        )
    flat = windows.reshape(len(windows), -1).astype(np.float64)
    most = min(flat.shape)
    if count is not None and not 1 <= count <= most:
        raise OptionError(f"Expected 1 to {most} components of {flat.shape[0]} windows; received {count}.")
    if not np.ptp(flat, axis=0).any():
        raise DataError("All windows are the same: there is no variance to explain.")
    if standardized:
        flat = StandardScaler().fit_transform(flat)
    shares = PCA(count or most, svd_solver="full").fit(flat).explained_variance_ratio_
    return pd.DataFrame({"component": np.arange(1, len(shares) + 1), "share": shares, "cumulative": np.cumsum(shares)})


def components_for(curve: pd.DataFrame, share: float) -> int | None:
    """How many components explain at least a share of the variance; None: more than the curve has.

    Args:
        curve: of `explained_variance`; share: in (0, 1].
    """
    enough = curve.loc[curve["cumulative"] >= share - 1e-12, "component"]
    return int(enough.iloc[0]) if len(enough) else None
