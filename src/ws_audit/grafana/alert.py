# SPDX-License-Identifier: Apache-2.0
"""What an alert is: its question, how long it waits, who hears of it, and what they are told.

Why it exists: Prometheus' rules, Grafana's rules and the routes are made from the same alerts.

It must never leave to a default what a dead data source, or one without data, means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

# What severity an alert may have: labels to route on.
PAGE: Final = "page"  # now, at any hour
PAGE_IN_HOURS: Final = "page_in_hours"  # at once in working hours, else when they begin
TICKET: Final = "ticket"  # somebody looks at it this week

# Grafana's words.
State = Literal["OK", "Alerting", "NoData", "Error"]


@dataclass(frozen=True)
class Group:
    """Rules that are evaluated together, one after the other."""

    name: str
    interval: str | None = None  # how often; else as often as the server does by default


LEAKS: Final = Group("ws_audit_leaks", "15s")
BLINDNESS: Final = Group("ws_audit_blindness")


@dataclass(frozen=True)
class Alert:
    """One alert. Its expression gives a series for each thing that is wrong, above 0, else none."""

    name: str
    group: Group
    expression: str
    labels: dict[str, str]  # `severity`, and what else routes ask for; may be templates
    summary: str
    description: str
    command: str  # what to type first
    hint: str  # what to look for then
    no_data: State  # Grafana: the expression gives nothing, not even `watched`
    error: State = "Alerting"  # Grafana: the data source cannot be asked; nobody knows then
    pending: str | None = None  # Prometheus' `for`
    keep_firing: str | None = None
    watched: str | None = None  # what there is for as long as the rule can see at all
    remark: str = ""  # for whom the expression puzzles

    @property
    def runbook(self) -> str:
        """What an alert carries: the command on the first line, and where more is said."""
        return f"{self.command}\n({self.hint})\n{self.page}"

    @property
    def page(self) -> str:
        """The runbook's page, in the repository."""
        return f"docs/runbooks/{self.name}.md"

    @property
    def graded(self) -> str:
        """The expression for Grafana, which takes an empty answer for missing data.

        What is well is there as 0, so no data means that nothing is there to be watched.
        """
        if self.watched is None:
            return self.expression
        return f"(\n{self.expression}\n)\nor\n({self.watched}) * 0"


def one_of(label: str, cases: dict[str, str], otherwise: str) -> str:
    """A template: what each value of a label stands for."""
    text = "".join(
        f'{{{{ {"else if" if number else "if"} eq $labels.{label} "{value}" }}}}{meaning}'
        for number, (value, meaning) in enumerate(cases.items())
    )
    return f"{text}{{{{ else }}}}{otherwise}{{{{ end }}}}"
