"""The search space: the settings that are varied, and their ranges.

Event weights and seeds are excluded: they decide which events are held out, so trials would not be comparable.
"""

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import ValidationError

from components.core.errors import DuotempoError
from components.settings import Settings

INTERESTS = "interests."
SPACE: dict[str, FloatDistribution | IntDistribution | CategoricalDistribution] = {
    "fusion.learning_rate": FloatDistribution(3e-4, 1e-2, log=True),
    "fusion.weight_decay": CategoricalDistribution((0.0, 1e-3, 1e-2, 1e-1)),
    "fusion.dropout": FloatDistribution(0.0, 0.5),
    "fusion.id_dropout": FloatDistribution(0.0, 0.5),
    "fusion.width": CategoricalDistribution((32, 48, 64, 96, 128)),
    "fusion.blocks": IntDistribution(1, 3),
    "fusion.window": CategoricalDistribution((20, 30, 50, 100)),
    # few values: each new pair of the two requires the documents of all users to be built and embedded again
    "interests.half_life_days": CategoricalDistribution((15.0, 60.0, 180.0)),
    "interests.short_days": CategoricalDistribution((3.0, 14.0, 30.0)),
}
"""Distribution by dotted setting name. The current value is always included, see `space`."""


class SearchError(DuotempoError):
    """A search cannot start or has no result; the message says how to fix it."""


class ImpossibleValues(SearchError):
    """The values of a trial are invalid in combination; the message says why."""


def space(settings: Settings) -> dict[str, BaseDistribution]:
    """SPACE, widened to include the current values of the settings."""
    return {name: _including(SPACE[name], value) for name, value in current_values(settings).items()}


def current_values(settings: Settings) -> dict[str, Any]:
    """Current values of the searched settings, by dotted name."""
    return {name: attrgetter(name)(settings) for name in SPACE}


def with_values(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """A copy of the settings with `values` by dotted name. Raises ImpossibleValues for an invalid combination."""
    sections: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        section, setting = name.split(".")
        sections.setdefault(section, getattr(settings, section).model_dump())[setting] = value
    try:
        changes = {section: type(getattr(settings, section))(**fields) for section, fields in sections.items()}
    except ValidationError as error:
        raise ImpossibleValues("; ".join(problem["msg"] for problem in error.errors())) from error
    return settings.model_copy(update=changes)


def _including(
    distribution: FloatDistribution | IntDistribution | CategoricalDistribution, value: Any
) -> BaseDistribution:
    """The distribution, widened to include the value."""
    if isinstance(distribution, CategoricalDistribution):
        choices = distribution.choices
        return distribution if value in choices else CategoricalDistribution((*choices, value))
    low, high = min(distribution.low, value), max(distribution.high, value)
    return type(distribution)(low, high, log=distribution.log)
