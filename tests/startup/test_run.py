# SPDX-License-Identifier: Apache-2.0
"""`ws-audit run -- CMD` is CMD with the agent switched on, and nothing else."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.startup.interpreters import Environment

TELL_ACTIVATION = """
import os, sys
print(os.environ["WS_AUDIT_ENABLED"], "ws_audit.bootstrap" in sys.modules, sys.argv[1:])
"""


def test_the_command_is_audited_and_gets_its_words(app: Environment) -> None:
    app.write(show=TELL_ACTIVATION)
    words = ("--help", "--", "run", "a b")
    ended = app.call(app.command, "run", "--", app.python, "show.py", *words)
    assert ended == (0, f"1 True {list(words)}\n", "")


def test_dashes_are_optional_and_python_m_does_the_same(app: Environment) -> None:
    app.write(show=TELL_ACTIVATION)
    for command in ([app.command], [app.python, "-m", "ws_audit"]):
        ended = app.call(*command, "run", "python", "show.py")
        assert ended == (0, "1 True []\n", "")


def test_a_false_value_in_the_environment_is_overruled(app: Environment) -> None:
    app.write(show=TELL_ACTIVATION)
    ended = app.call(app.command, "run", "--", "python", "show.py", WS_AUDIT_ENABLED="0")
    assert ended.out == "1 True []\n"


@pytest.mark.parametrize("code", [0, 1, 7, 130])
def test_the_exit_code_is_the_commands_own(app: Environment, code: int) -> None:
    ended = app.call(app.command, "run", "--", "sh", "-c", f"exit {code}")
    assert ended == (code, "", "")


@pytest.mark.parametrize("name", ["TERM", "KILL", "PIPE", "XFSZ"])
def test_so_is_the_signal_that_ends_it(app: Environment, name: str) -> None:
    """PIPE and XFSZ are ignored by Python itself, and what is ignored is inherited."""
    ended = app.call(app.command, "run", "--", "sh", "-c", f"kill -{name} $$; sleep 9")
    assert ended == (-getattr(signal, f"SIG{name}"), "", "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no command given"),
        (("--",), "no command given"),
        (("--", "no-such-command"), "'no-such-command': command not found"),
        (("--", "./notes.txt"), "'./notes.txt'"),
        (("--", ""), "''"),
    ],
)
def test_what_cannot_be_started_exits_2_and_is_named(
    app: Environment, words: tuple[str, ...], said: str
) -> None:
    (app.directory / "notes.txt").write_text("not a program\n")
    ended = app.call(app.command, "run", *words)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("words", [("walk",), ("--no-such-option",), ()])
def test_a_wrong_command_line_exits_2(app: Environment, words: tuple[str, ...]) -> None:
    ended = app.call(app.command, *words)
    assert (ended.code, ended.out) == (2, "")
    assert "usage: ws-audit" in ended.err
