# SPDX-License-Identifier: Apache-2.0
"""The page an alert leads to: it is there, and begins with a command that the CLI really takes."""

from __future__ import annotations

import argparse
import re
import shlex
from typing import Any

import pytest

from tests.alerts.promtool import ROOT
from ws_audit.grafana.alerts import alerts
from ws_audit.tools import cli

ALERTS = {alert.name: alert for alert in alerts()}
PAGES = ROOT / "docs" / "runbooks"
each_alert = pytest.mark.parametrize("name", ALERTS)

_BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)


class Taken(BaseException):
    """Raised in place of what a command would do."""


@pytest.fixture
def understood(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Whether the real parsers, those of subcommands included, take a command line."""
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(parser: argparse.ArgumentParser, *arguments: Any) -> None:
        parse(parser, *arguments)
        raise Taken

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)

    def ask(line: str) -> bool:
        program, *words = shlex.split(line)
        assert program == "ws-audit"
        try:
            cli.main(words)
        except Taken:
            return True
        return False

    return ask


def text(name: str) -> str:
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def test_every_page_is_an_alerts_and_every_alert_has_one() -> None:
    assert {page.stem for page in PAGES.glob("*.md")} == set(ALERTS)


@each_alert
def test_it_begins_with_the_command_the_alert_names(name: str, understood: Any) -> None:
    head, _, rest = text(name).partition("```sh\n")
    command = rest.partition("\n```")[0]

    assert head == f"# {name}\n\n"
    assert command == ALERTS[name].command == ALERTS[name].runbook.splitlines()[0]
    assert understood(command)


@each_alert
def test_every_command_on_it_is_one(name: str, understood: Any) -> None:
    for block in _BLOCK.findall(text(name)):
        for line in block.splitlines():
            assert understood(line), line


@pytest.mark.parametrize("line", ["ws-audit revue DIR", "ws-audit review", "ws-audit doctor --up"])
def test_what_is_no_command_is_not_taken(line: str, understood: Any) -> None:
    assert not understood(line)


@each_alert
def test_it_says_all_there_is_to_say(name: str) -> None:
    page = text(name)

    for heading in (
        "**What it means.**",
        "**What to look at",
        "**How to stop it.**",
        "**When it is a false alarm.**",
    ):
        assert heading in page
    assert len(page.splitlines()) < 60, "it is read at 3 a.m."


@each_alert
def test_what_it_points_at_is_there(name: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", text(name)):
        file, _, anchor = target.partition("#")
        page = (PAGES / file).resolve()
        assert page.is_file(), target
        headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", it.lower()).replace(" ", "-") for it in headings}
        assert not anchor or anchor in slugs, target


@each_alert
def test_the_alert_leads_to_it(name: str) -> None:
    assert (ROOT / ALERTS[name].runbook.splitlines()[-1]).is_file()
