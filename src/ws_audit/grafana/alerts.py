# SPDX-License-Identifier: Apache-2.0
"""All alerts there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import blindness, gaps, leaks
from .alert import Alert
from .promql import Selectors

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Alert", "alerts"]


def alerts(job: str | None = None) -> Sequence[Alert]:
    """The alerts, for the scrape jobs that `job` (a regular expression) matches; else for all."""
    series = Selectors(job)
    return (*leaks.alerts(series), *blindness.alerts(series), *gaps.alerts(series))
