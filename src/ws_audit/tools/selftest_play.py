# SPDX-License-Identifier: Apache-2.0
"""The self-test's leak in a process of its own: real import hook, hooks, sink, reader and judge.

Why it exists: in a running service the agent's parts have been put together long ago; here it
is shown that they come together at all, in this Python, with these libraries.

It must never import the application, call anything the settings name, or start the ways out of
an audited process.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ws_audit import agent as agents
from ws_audit import bootstrap
from ws_audit.selftest import application
from ws_audit.selftest.script import OWNER, RECIPIENT, Broken, examine, messages, tokens
from ws_audit.transports.asgi import wrap

from .selftest_check import FAILED, NOT_TRIED, OK, Check

if TYPE_CHECKING:
    from ws_audit.configuration.settings import Settings
    from ws_audit.runtime import Runtime

    from .selftest_ways import Ways

MODULE: Final = "ws_audit_selftest_application"
# In this order a message passes them; what each does when all is well.
STAGES: Final = {
    "import hook": "an imported manager class was seen",
    "hooks": "the call of its method was seen, with whom it names",
    "sink": "both messages were seen where they leave, with whose connection it is",
    "reader": "the owner was found in both, where payload.owner says",
    "judge": "one is a match, the other one canary, confirmed",
}
_ADVICE: Final = {
    "import hook": "Another import hook may stand in the way: see `ws-audit doctor`.",
    "reader": "See payload.owner and limits.payload_bytes.",
}
_BROKEN: Final = "This installation is broken: reinstall ws-audit, and see `pip check`."


def play(settings: Settings, ways: Ways) -> list[Check]:
    """What each stage did; the violation went the ways out if they all did their part."""
    with tempfile.TemporaryDirectory(prefix="ws-audit-selftest-") as folder:
        try:
            _play(settings, ways, Path(folder))
        except Broken as broken:
            return _up_to(broken)
    return [Check(name, OK, what) for name, what in STAGES.items()]


def _up_to(broken: Broken) -> list[Check]:
    """All of them, where one is broken: those before it have done their part."""
    checks = []
    failed = False
    for name, what in STAGES.items():
        if name == broken.stage or (not failed and name == "judge"):
            failed = True
            checks.append(Check(name, FAILED, broken.what, _ADVICE.get(name, _BROKEN)))
        elif failed:
            checks.append(Check(name, NOT_TRIED, "something before it failed"))
        else:
            checks.append(Check(name, OK, what))
    return checks


def _play(settings: Settings, ways: Ways, folder: Path) -> None:
    known = tokens()
    file = folder / "tokens.json"
    file.write_text(json.dumps(known))
    runtime, module = _imported(settings, file, folder)
    records = _Records()
    faults: list[tuple[str, BaseException]] = []
    runtime.drain.outputs([records])
    runtime.sink.violations = ways

    def failed(stage: str, fault: BaseException) -> None:
        faults.append((stage, fault))

    runtime.sink._failed = failed
    app = module.SyntheticApplication(messages(known[OWNER], settings.payload_owner))
    served = wrap(app, runtime.sink, runtime.serving, failed)
    scope = {"type": "websocket", "path": "/", "user": {"id": RECIPIENT}}
    asyncio.run(served(scope, _receive, _send))  # type: ignore[arg-type]
    runtime.drain.stop()
    ways.count(runtime.tally.total())
    if faults:
        stage, fault = faults[0]
        stage = stage if stage in STAGES else "sink"
        raise Broken(stage, f"{type(fault).__name__} inside the agent")
    examine(records.kept, f"{MODULE}:SyntheticManager")


def _imported(settings: Settings, file: Path, folder: Path) -> tuple[Runtime, Any]:
    """An agent without ways out, and the application it has seen being imported."""
    made = agents.Agent()
    # What is the application's, or says where its data goes, is none of this one's.
    made.settings = settings._replace(
        mode="observe",
        include=(),
        exclude=(),
        trace_dir="",
        report="",
        metrics_addr=None,
        control_file="",
        push_webhook="",
        selftest_interval_seconds=0,
        identity_connection=(),
        identity_tenant=(),
        identity_accessor="",
        identity_aliases="",
        manager=(),
        policy=(),
        canary_tokens_file=str(file),
    )
    agents._agent = made
    shutil.copyfile(application.__file__, folder / f"{MODULE}.py")
    bootstrap.install()
    sys.path.insert(0, str(folder))
    try:
        made.proof.prove()
        module = importlib.import_module(MODULE)
    finally:
        sys.path.remove(str(folder))
    if not made.proof.works:
        raise Broken("import hook", "imports are not seen")
    runtime = made.runtime
    if runtime is None or module.SyntheticManager not in runtime.installer:
        raise Broken("import hook", "a manager class was imported and not taken")
    return runtime, module


class _Records:
    """The end of the drain."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def fold(self, record: Any) -> None:
        self.kept.append(record)

    def tick(self, now_ns: int) -> None:
        """Nothing periodic."""


async def _receive() -> dict[str, Any]:
    await asyncio.sleep(0)
    return {"type": "websocket.receive", "text": "{}"}


async def _send(message: dict[str, Any]) -> None:
    """There is no client."""
