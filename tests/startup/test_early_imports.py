# SPDX-License-Identifier: Apache-2.0
"""Applications that must be the first to import something still are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.startup.applications import CATALOGUE, CHAT, HUB
from tests.startup.interpreters import DEPENDENCIES

if TYPE_CHECKING:
    from tests.startup.interpreters import Environment

PATCH_EVERYTHING = """
import sys, warnings
{before}
from telling import told
names = ("socket", "ssl", "threading", "select")
early = [name for name in (*names, "asyncio", "queue", "subprocess") if name in sys.modules]
from gevent import monkey

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    monkey.patch_all()

import socket, ssl, threading
told(
    early=early,
    warnings=[str(warning.message) for warning in caught],
    patched=[name for name in names if monkey.is_module_patched(name)],
    socket=socket.socket.__module__,
    context=ssl.SSLContext.__module__,
    local=threading.local.__module__,
)
"""

# As Django projects and gunicorn's prefork set-ups do it: the directory is decided in Python.
MULTIPROCESS_APPLICATION = """
import os, pathlib

directory = pathlib.Path(__file__).parent / "metrics"
directory.mkdir(exist_ok=True)
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)

from prometheus_client import Counter

orders = Counter("orders", "Orders taken.")
"""

SERVE_MULTIPROCESS = """
import asyncio
from telling import told
import hub
import shop, chat
from loopback import serving, message

async def main():
    async with serving(chat.app) as url:
        shop.orders.inc()
        await message(url + "/ws/alice")

asyncio.run(main())
import ws_audit
told(flushed=ws_audit.flush())
from prometheus_client import CollectorRegistry, generate_latest, multiprocess, values

registry = CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
page = generate_latest(registry).decode()
told(
    mode=values.ValueClass.__name__,
    orders="orders_total 1.0" in page,
    frames='ws_audit_frames_total{judged="true",transport="asgi"} 1.0' in page,
)
"""


@pytest.mark.parametrize("before", ["", "import catalogue"], ids=["first", "after an application"])
def test_gevent_patches_as_without_us(app: Environment, before: str) -> None:
    app.write(catalogue=CATALOGUE)
    script = PATCH_EVERYTHING.format(before=before)
    without = app.run(script)
    audited = app.audited(script)

    assert audited.told == without.told
    assert audited.told["warnings"] == []
    assert audited.told["early"] == []
    assert audited.told["patched"] == ["socket", "ssl", "threading", "select"]
    assert audited.err == without.err == ""


def test_the_application_decides_on_prometheus_multiprocess_mode(app: Environment) -> None:
    app.write(hub=HUB, chat=CHAT, shop=MULTIPROCESS_APPLICATION)
    told = app.audited(SERVE_MULTIPROCESS).told
    assert told == {"flushed": True, "mode": "MmapedValue", "orders": True, "frames": True}


def test_dependencies_are_named_as_they_are_installed(app: Environment) -> None:
    """The lists of the other tests would prove nothing if a name in them were wrong."""
    modules = [name for name in DEPENDENCIES if name != "tomli"]
    script = f"from telling import told\nimport {', '.join(modules)}\ntold(ok=True)"
    assert app.run(script).told == {"ok": True}
