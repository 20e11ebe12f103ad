# SPDX-License-Identifier: Apache-2.0
"""The dashboards, in the order in which somebody who was woken up opens them."""

from __future__ import annotations

from .agent import AGENT
from .isolation import ISOLATION
from .managers import MANAGERS

DASHBOARDS = (ISOLATION, MANAGERS, AGENT)
