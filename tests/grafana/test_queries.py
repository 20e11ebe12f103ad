# SPDX-License-Identifier: Apache-2.0
"""Every query of every panel and alert, put to a real Prometheus that scrapes a real service.

Twice: with leaks, where each has to return something, and on clean traffic, where only those may
be silent that say so. Not only the whole: each selector in it, because `or` hides a wrong name.
"""

from __future__ import annotations

import contextlib
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import pytest

from tests.grafana.made import PANELS, SELECTOR, filled
from tests.real.test_prometheus import Prometheus, prometheus
from tests.real.world import drive, eventually, get, serve
from ws_audit.grafana.alerts import alerts
from ws_audit.grafana.dashboards.common import STARTS
from ws_audit.tools.demo_cast import Cast
from ws_audit.tools.demo_stage import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator

QUERIES = {
    f"{name} {number}": query.expr
    for name, panel in PANELS.items()
    for number, query in enumerate(panel.queries)
} | {"marks": STARTS}
PANEL_OF = {
    f"{name} {number}": panel
    for name, panel in PANELS.items()
    for number, _ in enumerate(panel.queries)
}
SELECTORS = {
    selector
    for expr in [*QUERIES.values(), *(alert.graded for alert in alerts())]
    for selector in SELECTOR.findall(expr)
}

# What no leak of the example brings about, and why that is no wrong name.
NEVER_HERE = {
    'outcome=~"error|refused|cancelled|undelivered"': "every send of the example comes through",
}


@dataclass(frozen=True)
class Stage:
    """A Prometheus that has scraped some traffic."""

    server: Prometheus
    target: str

    def answer(self, expr: str, job: str = ".+", instance: str = ".+") -> list[Any]:
        try:
            found: list[Any] = self.server.ask("query", query=filled(expr, job, instance))["result"]
        except HTTPError as error:
            pytest.fail(f"{error.read().decode()}\n{expr}")
        return found

    def silent(self, selectors: set[str]) -> set[str]:
        """Those of them that no series fits."""
        return {each for each in selectors if not self.answer(f"count(last_over_time({each}[1m]))")}


@contextlib.contextmanager
def stage(folder: Any, defects: str) -> Iterator[Stage]:
    with (
        serve(
            folder / "service",
            Cast.of(3),
            app="handing:app",
            defects=defects,
            settings={"WS_AUDIT_INCLUDE": "agent_chat.*,handing"},
            config="[selftest]\ninterval_seconds = 600\n",
        ) as service,
        prometheus(folder, service.metrics_port) as server,
    ):
        # An increase stands on two scrapes that differ, and these series begin with their first
        # event: the same once more, when that has been scraped.
        for born in (True, False):
            received = drive(service, runs=1, patience=0.5)
            assert bool(received.leaked) == bool(defects)
            get(f"http://{HOST}:{service.port}/handed")
            for name in ("ws_audit_events_sent_total", "ws_audit_factory_products_total"):
                look = f"sum({name})" if born else f"sum(increase({name}[1m]))"
                eventually(f"{look} is scraped", 10, partial(server.value, look))
        yield Stage(server, f"{HOST}:{service.metrics_port}")


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Stage]]:
    """One with leaks, one without, made at the same time: each takes seconds."""
    with contextlib.ExitStack() as stack, ThreadPoolExecutor() as pool:
        making = {
            defects: pool.submit(
                stack.enter_context, stage(tmp_path_factory.mktemp(defects or "clean"), defects)
            )
            for defects in ("fanout_bug", "")
        }
        yield {defects: each.result() for defects, each in making.items()}


@pytest.fixture
def leaking(stages: dict[str, Stage]) -> Stage:
    return stages["fanout_bug"]


@pytest.fixture
def clean(stages: dict[str, Stage]) -> Stage:
    return stages[""]


def never_here(expr: str) -> bool:
    return any(each in expr for each in NEVER_HERE)


# --- with leaks ---------------------------------------------------------------------------------


def test_every_query_returns_something(leaking: Stage) -> None:
    silent = {name for name, expr in QUERIES.items() if not leaking.answer(expr)}

    assert silent == set()


def test_every_query_returns_something_for_what_was_chosen(leaking: Stage) -> None:
    """One job and one target, as Grafana writes them: the dots are escaped."""
    target = leaking.target.replace(".", r"\\.")
    for name, expr in QUERIES.items():
        everything = leaking.answer(expr)
        chosen = leaking.answer(expr, "chat", target)
        assert len(chosen) == len(everything), name
        if all("$instance" in selector for selector in SELECTOR.findall(expr)):
            assert leaking.answer(expr, "chat", "elsewhere") == [], name


def test_every_selector_of_every_panel_and_alert_fits_something(leaking: Stage) -> None:
    assert len(SELECTORS) > 30
    silent = leaking.silent(SELECTORS)

    assert {each for each in silent if not never_here(each)} == set()


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("ws_audit_frames_total", "ws_audit_frame_total"),
        ('judged="true"', 'judge="true"'),
        ('judged="true"', 'judged="yes"'),
        ('synthetic="false"', 'synthetic="no"'),
        ("ws_audit_send_duration_seconds_bucket", "ws_audit_send_seconds_bucket"),
        ('state="patched"', 'state="hooked"'),
    ],
)
def test_a_wrong_name_is_noticed(leaking: Stage, right: str, wrong: str) -> None:
    changed = {each.replace(right, wrong) for each in SELECTORS if right in each}

    assert changed
    assert leaking.silent(changed) == changed


def test_every_alert_can_be_asked(leaking: Stage) -> None:
    for alert in alerts():
        answered = leaking.answer(alert.graded)
        # What Grafana compares with 0: a thing that is wrong is above it.
        if alert.name == "WsAuditLeakConfirmed":
            assert any(float(each["value"][1]) > 0 for each in answered), alert.name
        elif alert.watched:
            assert answered, alert.name


def test_a_violation_leads_to_its_trace(leaking: Stage) -> None:
    asking = [query.expr for panel in PANELS.values() for query in panel.queries if query.exemplar]
    assert asking
    for expr in asking:
        found = leaking.server.ask(
            "query_exemplars",
            query=filled(expr),
            start=str(time.time() - 600),
            end=str(time.time() + 60),
        )
        traces = {each["labels"]["trace_id"] for series in found for each in series["exemplars"]}
        assert traces
        assert all(re.fullmatch(r"[0-9a-f]{32}", each) for each in traces)


def test_it_says_that_there_is_a_leak(leaking: Stage) -> None:
    assert answered(leaking, "ws-audit-isolation: Is anybody seeing somebody else's data?") == 6
    assert answered(leaking, "ws-audit-isolation: Violations in this range", 0) > 0
    assert answered(leaking, "ws-audit-isolation: Open incidents") > 0
    now = time.time() * 1000
    first = answered(leaking, "ws-audit-isolation: First violation in this range")
    last = answered(leaking, "ws-audit-isolation: Last violation")
    assert now - 60_000 < first <= last < now


def answered(where: Stage, panel: str, number: int = 0) -> float:
    (only,) = where.answer(PANELS[panel].queries[number].expr)
    return float(only["value"][1])


# --- on clean traffic ---------------------------------------------------------------------------


def test_only_what_says_so_is_empty_when_all_is_well(clean: Stage) -> None:
    silent = {name for name in PANEL_OF if name in QUERIES and not clean.answer(QUERIES[name])}
    unsaid = {name for name in silent if not PANEL_OF[name].healthy_empty}

    assert unsaid == set()
    # And what shows violations is empty, or 0.
    assert "ws-audit-isolation: Violations by rule 0" in silent


def test_it_says_that_all_is_well(clean: Stage) -> None:
    assert answered(clean, "ws-audit-isolation: Is anybody seeing somebody else's data?") == 0
    assert answered(clean, "ws-audit-isolation: Judged share") == 1
    assert answered(clean, "ws-audit-isolation: Open incidents") == 0
    assert answered(clean, "ws-audit-isolation: Last violation") == 0
    assert answered(clean, "ws-audit-isolation: First violation in this range") == 0
    assert answered(clean, "ws-audit-isolation: Targets without agent") == 0
    assert answered(clean, "ws-audit-isolation: Messages in this range") > 0
    assert answered(clean, "ws-audit-agent: Is the agent looking?") == 0
    assert answered(clean, "ws-audit-managers: Sends that came to nothing") == 0


def test_without_an_agent_nothing_looks_like_a_zero(clean: Stage) -> None:
    """A job nobody audits: every number of every page is empty, so it shows its text."""
    for name, expr in QUERIES.items():
        assert clean.answer(expr, job="unknown") == [], name
