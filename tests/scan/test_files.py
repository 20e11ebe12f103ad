# SPDX-License-Identifier: Apache-2.0
"""What cannot be read is said in a line, and the rest is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ws_audit.scan import survey as module
from ws_audit.scan.files import LARGEST
from ws_audit.scan.survey import survey

from .made import EXAMPLES, hub, paths, scan, write

if TYPE_CHECKING:
    from pathlib import Path

BAD = {
    "newer syntax": (b"x = 1\nmatch lazily x:\n  pass\n", "bad.py:2: invalid syntax"),
    "not finished": (b"def f(:\n", "bad.py:1: "),
    "not UTF-8": (b"x = '\xff\xfe'\n", "bad.py"),
    "an encoding nobody knows": (b"# coding: klingon\nx = 1\n", "bad.py"),
    "a null byte": (b"x = 1\0\n", "bad.py"),
    "nested too deeply": (b"x = " + b"(" * 5000 + b")" * 5000, "bad.py"),
    "a very long sum": (b"x = " + b"1 + " * 200_000 + b"1\n", "bad.py"),
    "what never compiles": (
        b"from fastapi import WebSocket\nclass A: pass\nreturn 1\n",
        "bad.py:3",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_file_that_cannot_be_parsed(what: str, tmp_path: Path) -> None:
    source, said = BAD[what]
    write(tmp_path, {"app/hub.py": hub()})
    (tmp_path / "bad.py").write_bytes(source)
    found = survey(str(tmp_path))
    assert paths(found) == {"app.hub.Hub"}
    (problem,) = found.problems
    assert problem.startswith(said)
    assert problem.endswith("skipped")
    assert found.summary["unparsed"] == 1


def test_other_encodings_are_read(tmp_path: Path) -> None:
    source = f"# coding: latin-1\n# é\n{hub()}".encode("latin-1")
    (tmp_path / "a.py").write_bytes(source)
    (tmp_path / "b.py").write_bytes(b"\xef\xbb\xbf" + hub("Other").encode())
    found = survey(str(tmp_path))
    assert paths(found) == {"a.Hub", "b.Other"}
    assert found.problems == []


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    write(tmp_path, {"app/hub.py": hub()})
    (tmp_path / "app/data.py").write_text("x = 1\n" + "#\n" * (LARGEST // 2))
    (tmp_path / "app/fits.py").write_text("#\n" * (LARGEST // 2))
    found = survey(str(tmp_path))
    (problem,) = found.problems
    assert problem == "app/data.py: 2,000,006 bytes, more than 2,000,000; skipped"
    assert found.summary["unparsed"] == 1
    assert paths(found) == {"app.hub.Hub"}


def test_links(tmp_path: Path) -> None:
    write(tmp_path, {"app/hub.py": hub()})
    (tmp_path / "app/around").symlink_to(tmp_path)
    (tmp_path / "same").symlink_to(tmp_path / "app")
    (tmp_path / "app/twin.py").symlink_to("hub.py")
    (tmp_path / "app/gone.py").symlink_to("nowhere.py")
    found = survey(str(tmp_path))
    assert found.problems == [
        "app/gone.py: a link that leads to no file; skipped",
        "app/twin.py: a link to app/hub.py: one source under two names; read once",
        "app/around: a link to a directory that was read already (a circle); skipped",
        "same: a link to a directory that was read already (again); skipped",
    ]
    assert paths(found) == {"app.hub.Hub"}


def test_two_copies(tmp_path: Path) -> None:
    write(tmp_path, {"src/app/hub.py": hub(), "src/use.py": "import app.hub"})
    write(tmp_path / "vendored", {"app/hub.py": hub()})
    found = survey(str(tmp_path))
    assert [line.rpartition(";")[0] for line in found.problems] == [
        "vendored/app/__init__.py: a second copy of module app, which is src/app/__init__.py",
        "vendored/app/hub.py: a second copy of module app.hub, which is src/app/hub.py",
    ]


def test_circles(tmp_path: Path) -> None:
    found = scan(
        tmp_path,
        {
            "app/hub.py": "from .b import x\n" + hub(),
            "app/b.py": "from . import hub\nx = 1\n",
            "app/c.py": "from .d import Lost",
            "app/d.py": "from .c import Lost",
        },
    )
    assert paths(found) == {"app.hub.Hub"}
    assert found.problems == [
        "circular import: app.c.Lost -> app.d.Lost -> app.c.Lost; that name leads nowhere",
        "circular import: app.b, app.hub import each other while they are imported",
        "circular import: app.c, app.d import each other while they are imported",
    ]


def test_what_is_left_out(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "app/hub.py": hub(),
            "tests/test_hub.py": hub("A"),
            "app/test_hub.py": hub("B"),
            "app/conftest.py": hub("C"),
            "app/node_modules/x.py": hub("D"),
            ".git/x.py": hub("E"),
            "env/lib/x.py": hub("F"),
            "build/lib/app/hub.py": hub("G"),
        },
    )
    (tmp_path / "env/pyvenv.cfg").touch()
    found = survey(str(tmp_path))
    assert paths(found) == {"app.hub.Hub"}
    assert (found.files, found.tests) == (2, 4)


def test_a_scanned_directory_may_itself_be_called_tests(tmp_path: Path) -> None:
    inner = tmp_path / "tests/fixtures"
    assert paths(scan(inner, {"hub.py": hub()})) == {"hub.Hub"}


def test_one_file(tmp_path: Path) -> None:
    write(tmp_path, {"hub.py": hub()})
    assert paths(survey(str(tmp_path / "hub.py"))) == {"hub.Hub"}


def test_in_several_processes_it_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = survey(str(EXAMPLES / "fragmented"))
    monkeypatch.setattr(module, "_FEW", 0)
    monkeypatch.setattr(module, "_CHUNK", 1)
    monkeypatch.setattr(module, "_processors", lambda: 2)
    assert survey(str(EXAMPLES / "fragmented")) == one

    class Refused:
        def __init__(self, *_: object) -> None:
            raise OSError

    monkeypatch.setattr(module, "ProcessPoolExecutor", Refused)
    assert survey(str(EXAMPLES / "fragmented")) == one
