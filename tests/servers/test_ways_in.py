# SPDX-License-Identifier: Apache-2.0
"""Every way to switch the agent on, alone and with others: it audits once, or not at all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.real.world import eventually
from tests.servers.backend import RIVAL

if TYPE_CHECKING:
    from tests.servers.stage import Server, Stage

SERVE = ("--port", "PORT", "--log-level", "warning")
PYTHON = ("python", "-m", "uvicorn", "chat:app", *SERVE)
UVICORN = (*PYTHON[1:3], "chat:app", *SERVE)
# What the console script does; it is not in the bin directory of the tests' environment.
INSTRUMENT = ("-c", "from opentelemetry.instrumentation import auto_instrumentation as a; a.run()")
OTEL = ("python", *INSTRUMENT, "python")
NO_EXPORTERS: dict[str, Any] = {
    f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")
}


def assert_audited(server: Server, workers: int = 1) -> None:
    """Everything is counted once."""
    server.talk_to_all(workers)
    pages = server.pages()
    assert len(pages) == workers
    server.assert_counts(pages)
    for page in pages:
        assert page.total("ws_audit_instances_created_total") == 1
        assert page.total("ws_audit_events_sent_total") == page.balanced()
    server.stop()
    server.assert_quiet(workers)
    server.assert_reviewed()


def assert_off(server: Server) -> None:
    server.talk("somebody")
    assert server.pages() == []
    server.stop()
    assert "ws-audit" not in server.said()
    assert not (server.stage.directory / "traces").exists()


# --- OpenTelemetry's command ---------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_opentelemetry_instrument_is_enough(stage: Stage, workers: int) -> None:
    words = (*OTEL, *UVICORN, "--workers", str(workers))
    with stage.serve(*words, workers=workers, WS_AUDIT_ENABLED="", **NO_EXPORTERS) as server:
        assert_audited(server, workers)


@pytest.mark.parametrize(
    "variables",
    [
        {"WS_AUDIT_ENABLED": "false"},
        {"WS_AUDIT_ENABLED": "0"},
        {"WS_AUDIT_ENABLED": "", "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "ws_audit"},
    ],
    ids=["false", "0", "disabled there"],
)
def test_and_can_be_told_not_to(stage: Stage, variables: dict[str, Any]) -> None:
    with stage.serve(*OTEL, *UVICORN, workers=0, **{**NO_EXPORTERS, **variables}) as server:
        assert_off(server)


def test_without_opentelemetrys_package_the_class_does_the_same(stage: Stage) -> None:
    script = """
    import sys
    sys.modules["opentelemetry.instrumentation.instrumentor"] = None
    from importlib.metadata import entry_points
    from ws_audit.bootstrap import _finder

    (entry,) = entry_points(group="opentelemetry_instrumentor", name="ws_audit")
    instrumentor = entry.load()()
    seen = [_finder in sys.meta_path]
    instrumentor.instrument(skip_dep_check=True)
    seen.append(_finder in sys.meta_path)
    instrumentor.uninstrument()
    seen.append(_finder in sys.meta_path)
    from telling import told
    told(seen=seen, base=type(instrumentor).__mro__[1].__name__)
    """
    told = stage.environment.run("\n".join(line[4:] for line in script.splitlines())).told
    assert told == {"seen": [False, True, False], "base": "object"}


# --- two ways at once ----------------------------------------------------------------------------

ENABLING = ("-m", "uvicorn", "enabling:app", *SERVE)
RUN = ("ws-audit", "run", "--")
TOGETHER = {
    "in code alone": (("python", *ENABLING), ""),
    "in code, and the variable": (("python", *ENABLING), "1"),
    "run, and the variable": ((*RUN, *PYTHON), "1"),
    "OpenTelemetry's command, and the variable": ((*OTEL, *UVICORN), "1"),
    "all": ((*RUN, *OTEL, *ENABLING), "1"),
}


@pytest.mark.parametrize("how", TOGETHER)
def test_however_many_ways_at_once_it_counts_once(stage: Stage, how: str) -> None:
    words, variable = TOGETHER[how]
    with stage.serve(*words, WS_AUDIT_ENABLED=variable, **NO_EXPORTERS) as server:
        assert_audited(server)


# --- others at the same place --------------------------------------------------------------------


def test_a_sitecustomize_of_the_teams_own_with_a_rival_finder(stage: Stage) -> None:
    stage.environment.write(**{"site.sitecustomize": RIVAL})
    with stage.serve(*PYTHON, PYTHONPATH=str(stage.directory / "site")) as server:
        assert_audited(server)
        said = server.said()
    assert "rival saw uvicorn.config" in said
    assert "rival saw chat" in said


def test_with_reload_the_new_process_is_audited_too(stage: Stage) -> None:
    with stage.serve(*PYTHON, "--reload") as server:
        before = server.talk_to_all(1)
        server.assert_counts(server.pages())
        later = (stage.directory / "chat.py").stat().st_mtime + 10
        os.utime(stage.directory / "chat.py", (later, later))
        eventually("it has started anew", 20, lambda: len(server.starts()) == 2)
        after = server.talk_to_all(1)
        assert before.isdisjoint(after)
        (page,) = server.pages()
        assert page.balanced() == sum(one.pid in after for one in server.received)
        server.stop()
        assert server.writers() == before | after
    server.assert_quiet(2)
    server.assert_reviewed()
