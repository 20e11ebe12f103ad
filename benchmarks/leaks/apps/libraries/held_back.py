# SPDX-License-Identifier: Apache-2.0
"""None: a library's bug is known to everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.leaks.case import Defect

DEFECTS: list[Defect] = []
