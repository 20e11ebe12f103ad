# SPDX-License-Identifier: Apache-2.0
"""Which line of application code: the caller of a hook, or who is writing to a socket.

Why it exists: "which line?" is the engineer's first question, and the module and function
of that line are part of an incident's identity.

It must never keep a frame (that would keep its locals alive): a code object, a line number
and a module name are all it takes along.
"""

from __future__ import annotations

import sys
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Final

from ws_audit.model import NONE

if TYPE_CHECKING:
    from collections.abc import Callable

Site = tuple[str, CodeType, int]  # module name, code, line

# A coroutine handed to a task is called by the event loop, not by a line of the application.
_MACHINERY: Final = frozenset(
    {"asyncio", "concurrent", "threading", "anyio", "uvloop", "trio", "asgiref"}
)
_ENTRIES: Final = 10_000
_texts: dict[tuple[CodeType, int], str] = {}


def caller(depth: int) -> Site:
    """Where the code `depth` frames above the calling function stands."""
    frame = sys._getframe(depth)
    return frame.f_globals.get("__name__", ""), frame.f_code, frame.f_lineno


def site_text(site: Site, fallback: str) -> str:
    """module:function:line; for a call by the event loop the hooked function itself."""
    module, code, line = site
    text = _texts.get((code, line))
    if text is None:
        if module.partition(".")[0] in _MACHINERY:
            return fallback
        if len(_texts) >= _ENTRIES:
            _texts.clear()
        name = getattr(code, "co_qualname", code.co_name).replace("<locals>.", "")
        text = _texts[code, line] = f"{module}:{name}:{line}"
    return text


def application_site(included: Callable[[str], bool]) -> str:
    """The innermost frame of application code on the stack, `none` if there is none.

    Installed libraries are none, unless `included` says of a module that it is (an
    application may be installed too, and then the settings name it).
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module, filename = frame.f_globals.get("__name__", ""), frame.f_code.co_filename
        if not _foreign(module, filename) and (not _installed(filename) or included(module)):
            return site_text((module, frame.f_code, frame.f_lineno), NONE)
        frame = frame.f_back
    return NONE


def _foreign(module: str, filename: str) -> bool:
    top = module.partition(".")[0]
    return top == "ws_audit" or top in sys.stdlib_module_names or filename.startswith("<")


def _installed(filename: str) -> bool:
    return "site-packages" in filename or "dist-packages" in filename
