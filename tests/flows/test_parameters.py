"""Flow parameters are validated before a run starts."""

import pytest
from prefect.exceptions import ParameterTypeError

from flows.batch import batch
from flows.search import search


@pytest.mark.parametrize("count", [0, -1, 1.5, "many", None])
def test_non_positive_counts_are_rejected(count: object) -> None:
    with pytest.raises(ParameterTypeError, match="trials"):
        search.validate_parameters({"trials": count, "name": "shop"})
    with pytest.raises(ParameterTypeError, match="k"):
        batch.validate_parameters({"k": count})
