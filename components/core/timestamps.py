"""Conversion of time columns to and from epoch seconds."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.core.normalize import epoch


def epoch_seconds(values: pd.Series) -> NDArray[np.float64]:
    """Converts a column to epoch seconds (n,) float64, by the rules of `components.core.normalize.epoch`."""
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        microseconds = pd.to_datetime(values, utc=True).dt.as_unit("us")
        return np.where(microseconds.isna(), np.nan, microseconds.astype("int64").to_numpy() / 1e6)
    if pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype):
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.array([epoch(value) for value in values.tolist()], dtype=np.float64)


def moments(seconds: NDArray[np.float64]) -> pd.Series:
    """Converts epoch seconds (n,) to datetime64[us, UTC]; NaN becomes NaT."""
    whole = np.round(np.nan_to_num(seconds) * 1e6).astype("int64")
    series = pd.Series(whole.astype("datetime64[us]")).dt.tz_localize("UTC")
    return series.where(~np.isnan(seconds))
