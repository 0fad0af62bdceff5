"""What a flow is asked for is checked before it begins, whoever asks."""

import pytest
from prefect.exceptions import ParameterTypeError

from flows.search import search


@pytest.mark.parametrize("trials", [0, -1, 1.5, "many", None])
def test_a_search_without_trials_is_refused(trials: object) -> None:
    with pytest.raises(ParameterTypeError, match="trials"):
        search.validate_parameters({"trials": trials, "name": "shop"})
