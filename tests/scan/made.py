# SPDX-License-Identifier: Apache-2.0
"""Code bases written to a directory, and what a scan says of them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

from ws_audit.scan.survey import Survey, survey

if TYPE_CHECKING:
    from collections.abc import Mapping

EXAMPLES = Path(__file__).parents[2] / "examples"

HUB = """
from fastapi import WebSocket

class {name}:
    def __init__(self):
        self._sockets: dict[str, WebSocket] = {{}}
    async def connect(self, websocket: WebSocket, user_id: str):
        self._sockets[user_id] = websocket
    async def send_to_user(self, user_id: str, message: dict):
        await self._sockets[user_id].send_json(message)
"""


def hub(name: str = "Hub") -> str:
    """A module with one manager."""
    return HUB.format(name=name)


def write(directory: Path, files: Mapping[str, str]) -> Path:
    """Write files by their path; a package's own file comes by itself."""
    for name, source in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(source), encoding="utf-8")
        package = path.parent
        while package != directory:
            if package.name not in ("src", "backend"):
                (package / "__init__.py").touch()
            package = package.parent
    return directory


def scan(directory: Path, files: Mapping[str, str], *canonical: str) -> Survey:
    """What a scan says of these files."""
    return survey(str(write(directory, files)), canonical)


def paths(found: Survey) -> set[str]:
    """All import paths of all implementations."""
    return {path for one in found.implementations for path in one.paths}


def told(found: Survey, rule: str) -> list[tuple[str, int]]:
    """Where findings of a rule are."""
    return [(one.path, one.line) for one in found.findings if one.rule == rule]
