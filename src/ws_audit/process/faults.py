# SPDX-License-Identifier: Apache-2.0
"""An error of the agent itself, as it may be told.

Why it exists: of an error only its type and place leave the process. It must never show the
text of one, which may quote a payload.
"""

from __future__ import annotations


def told(fault: BaseException) -> str:
    """The type of an error, and where it was raised."""
    where = fault.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    if where is None:
        return f"{type(fault).__name__} at ?"
    module = where.tb_frame.f_globals.get("__name__")
    return f"{type(fault).__name__} at {module}:{where.tb_lineno}"
