# SPDX-License-Identifier: Apache-2.0
"""One source file read: text in, facts out.

Why it exists: it is the part of a scan that takes time, and knows nothing of other files, so it
runs in as many processes as there are processors.

It must never raise for what a file holds. One that cannot be parsed is a line in the report.
"""

from __future__ import annotations

import ast
import os
import re
import sys
import warnings
from typing import TYPE_CHECKING, Final

from ws_audit import naming
from ws_audit.classes.signs import words

from .bindings import Bindings
from .bodies import Bodies
from .facts import File
from .keeping import kept_by
from .shapes import shapes

if TYPE_CHECKING:
    from collections.abc import Mapping

# A file that names none of these holds no manager, and writes to no socket.
_HINTS: Final = re.compile(
    rb"(?i:socket|emit|broadcast|send|publish|subscri|notif|consumer)"
    rb"|(?<![A-Za-z])(?:ws|sse|sio)|WS|SSE"  # words: "follows" and "assert" say nothing
)
# A file that is a client, and no server as well: its sockets are other people's.
_CLIENT: Final = re.compile(
    rb"websockets(\.\w+)*\.connect\b|websockets\.\S*client|ws_connect\b|WebSocketApp|aconnect_ws"
    rb"|websocket\.create_connection|import\s+connect\b|websocket_connect\b"
)
_SERVER: Final = re.compile(rb"\.accept\(|WebSocketResponse|serve\(|WebSocketHandler|APIRouter")
_SENDS: Final = re.compile(rb"\bsend\b|" + "|".join(sorted(naming.SOCKET_SENDS)).encode())
# Python 3.10 dies of a sum of a hundred thousand terms.
_LONGEST: Final = 100_000
_LIVE_MODULE: Final = re.compile(naming.LIVE_MODULE)
_LIVE_NAME: Final = re.compile(naming.LIVE_NAME)


def read(root: str, path: str) -> File:
    """Read the file at `path`, which is relative to `root`."""
    try:
        with open(os.path.join(root, path), "rb") as file:
            text = file.read()
    except OSError as error:
        return File(path, f"{path}: {error.strerror or error}; skipped")
    try:
        longest = max(map(len, text.splitlines()), default=0)
        if sys.version_info < (3, 11) and longest > _LONGEST:
            return File(path, f"{path}: a line of {longest:,} bytes; not parsed, skipped")
        return _read(path, text)
    except SyntaxError as error:
        where = f"{path}:{error.lineno}" if error.lineno else path
        return File(path, f"{where}: {error.msg}; not parsed, skipped")
    except UnicodeDecodeError as error:
        return File(path, f"{path}: not {error.encoding} at byte {error.start}; skipped")
    except (ValueError, LookupError) as error:  # a null byte, an encoding nobody knows
        return File(path, f"{path}: {error}; not parsed, skipped")
    except (RecursionError, MemoryError):
        return File(path, f"{path}: nested too deeply; not parsed, skipped")


def _read(path: str, text: bytes) -> File:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of invalid escapes and the like: somebody else's matter
        tree = ast.parse(text)
    hinted = _HINTS.search(text) is not None
    found = Bindings(tree)
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    shaped = shapes(tree, module, found.origins()) if hinted and found.has_class else {}
    client = _CLIENT.search(text) is not None and _SERVER.search(text) is None
    live = hinted and not client and _is_live(module, found.origins())
    quiet = client or not hinted or _SENDS.search(text) is None
    bodies = Bodies(tree, live=live, quiet=quiet)
    return File(
        path,
        bindings=tuple(found.bindings),
        stars=tuple(found.stars),
        exported=found.exported,
        lazy=tuple(found.lazy),
        functions=tuple(bodies.functions),
        classes=tuple(kept_by(tree, shaped)),
        calls=tuple(bodies.calls),
        shim=found.shim,
        loads=tuple(found.loads),
    )


def _is_live(module: str, origins: Mapping[str, str]) -> bool:
    """Whether a file shows real-time code, as signs.is_realtime has it of a module."""
    if _LIVE_MODULE.search(words(module)):
        return True
    for name, origin in origins.items():
        home = origin.partition(":")[0]
        if _LIVE_NAME.search(words(name)) or _LIVE_NAME.search(words(home.replace(".", "_"))):
            return True
        if home.partition(".")[0] in naming.REALTIME_MODULES - naming.WEB_MODULES:
            return True
    return False
