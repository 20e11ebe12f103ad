# SPDX-License-Identifier: Apache-2.0
"""The fingerprint: what changes it and what does not, in this and in another process."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ws_audit.inventory.fingerprint import DIGITS, Fingerprint, fingerprint

SOURCE = '''
class Manager(Base):
    """Sockets."""

    LIMIT = 3

    def __init__(self):
        self.sockets = {}

    async def send(self, user, message, retry=3, *, urgent=False):
        """Send it."""
        try:
            await self.sockets[user].send_json({"a": 1, "to": user})
        except (KeyError, ValueError):
            return [one for one in message if one in {"x", "y", "z"}]

    @property
    def number(self):
        return len(self.sockets)

    @staticmethod
    def later():
        def inner():
            "Nested."
            return here - there
        return inner
'''
BASE = """
class Base:
    def close(self):
        self.sockets.clear()
"""


def made(source: str = SOURCE, base: str = BASE, file: str = "app.py", above: int = 0) -> type:
    names: dict[str, Any] = {"__name__": "app", "functools": functools}
    exec(compile(base, file, "exec", dont_inherit=True), names)
    exec(compile("\n" * above + source, file, "exec", dont_inherit=True), names)
    found: type = names["Manager"]
    return found


USUAL = fingerprint(made())


@pytest.mark.parametrize(
    "cls",
    [
        made(above=200),
        made(file="/srv/other/place.py"),
        made(SOURCE.replace('"""Sockets."""', "").replace('"""Send it."""', '"""."""')),
        made(SOURCE.replace('"Nested."', "")),
        made(
            SOURCE.replace(
                "await self.sockets[user]", "# now\n\n            await self.sockets[user]"
            )
        ),
        made(
            SOURCE.replace('send_json({"a": 1, "to": user})', 'send_json(\n{"a":\n1,"to": user}\n)')
        ),
        made(SOURCE.replace("user, message,", "user: str, message: dict,")),
        made(SOURCE.replace("LIMIT = 3", "LIMIT = 4")),
        made("from __future__ import annotations\n" + SOURCE),
        type("Other", (made(),), {}),
    ],
    ids=[
        "lines",
        "file",
        "docstrings",
        "nested",
        "comment",
        "layout",
        "notes",
        "data",
        "future",
        "name",
    ],
)
def test_what_does_not_change_it(cls: type) -> None:
    assert fingerprint(cls) == USUAL


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"a": 1', '"a": 2'),
        ('"a": 1', '"a": True'),
        ("retry=3", "retry=4"),
        ("urgent=False", "urgent=True"),
        ("send_json", "send_text"),
        ("user, message,", "message, user,"),
        ("async def send", "def send"),
        ('"z"}', '"w"}'),
        ("ValueError", "TypeError"),
        ("len(self.sockets)", "len(self.others)"),
        ("here - there", "there - here"),
        ("@property", ""),
        ("@staticmethod", "@classmethod"),
        ("def later", "def after"),
        ("(Base)", ""),
    ],
)
def test_what_changes_it(old: str, new: str) -> None:
    source = SOURCE.replace("await ", "") if new == "def send" else SOURCE

    assert old in source
    assert fingerprint(made(source.replace(old, new))) != fingerprint(made(source))


def test_its_bases_are_part_of_it() -> None:
    assert fingerprint(made(base=BASE.replace("clear", "popitem"))) != USUAL


def test_what_handles_an_exception_is_part_of_it() -> None:
    """The same instructions in the same order, guarded from another place on."""
    inside = "class Manager:\n def f(self):\n  try:\n   a()\n   b()\n  except E: pass\n"
    outside = "class Manager:\n def f(self):\n  a()\n  try:\n   b()\n  except E: pass\n"

    assert fingerprint(made(inside)) != fingerprint(made(outside))


def test_a_line_that_does_nothing_is_no_part_of_it() -> None:
    """Such a line leaves an instruction that does nothing, and jumps lead over it."""
    with_it = "class Manager:\n def f(self, a):\n  while a:\n   if a():\n    pass\n    b()\n  c()\n"

    assert fingerprint(made(with_it)) == fingerprint(made(with_it.replace("    pass\n", "")))


def test_what_it_is_wrapped_in_is_part_of_it_unless_it_is_ours() -> None:
    def around(function: Any) -> Any:
        @functools.wraps(function)
        def call(*args: Any) -> Any:
            return function(*args)

        return call

    cls = made()
    cls.close = around(cls.close)  # type: ignore[attr-defined]
    work = Fingerprint(cls, lambda code: code.co_name == "call")
    while work.step():
        pass

    assert fingerprint(cls) != USUAL
    assert work.text() == USUAL


def test_it_is_the_same_in_another_process() -> None:
    """Another seed of hashes, another directory, another line: the order of a set is no code."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from tests.unit.test_fingerprint import USUAL; print(USUAL)"
    )
    root = Path(__file__).parents[2]
    paths = f"{root / 'src'}{os.pathsep}{root}"
    for seed in ("1", "2"):
        said = subprocess.run(
            [sys.executable, "-c", script, str(root)],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": paths},
            cwd="/",
            capture_output=True,
            text=True,
            check=True,
        )
        assert said.stdout.strip() == USUAL


def test_it_begins_with_the_version_of_python() -> None:
    assert len(USUAL) == DIGITS
    assert int(USUAL[0], 16) == sys.version_info[0]
    assert int(USUAL[1:3], 16) == sys.version_info[1]


def test_no_application_code_runs() -> None:
    class Bad(type):
        def __getattribute__(cls, name: str) -> Any:
            raise AssertionError(name)

    class Lazy:
        def __get__(self, instance: object, owner: object) -> Any:
            raise AssertionError

    class Manager(metaclass=Bad):
        lazy = Lazy()

        def send(self) -> None:
            """Nothing."""

    assert len(fingerprint(Manager)) == DIGITS
