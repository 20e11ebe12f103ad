# SPDX-License-Identifier: Apache-2.0
"""A real Chromium, spoken to over its DevTools protocol: what it asked for, said and shows."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from websockets.sync.client import connect

if TYPE_CHECKING:
    from pathlib import Path

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # no name is anybody's address
    "--remote-debugging-port=0",
)


class Browser:
    """One Chromium process with an empty profile."""

    def __init__(self, binary: Path, profile: Path) -> None:
        self._process = subprocess.Popen(
            [str(binary), *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        told = profile / "DevToolsActivePort"
        deadline = time.monotonic() + 60
        while not (told.exists() and told.read_text().count("\n")):
            assert self._process.poll() is None, "Chromium ended at once"
            assert time.monotonic() < deadline, "Chromium does not say its port"
            time.sleep(0.05)
        self.port, self.path = told.read_text().split()

    def open(self, page: Path, *, script: bool = True, **metrics: Any) -> Tab:
        """Load a page in a tab of its own; `metrics` are width, height and mobile."""
        tab = Tab(f"ws://127.0.0.1:{self.port}{self.path}")
        tab.load(page.as_uri(), script, metrics)
        return tab

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)


class Tab:
    """One page, with everything it asked for and said since it was opened."""

    def __init__(self, address: str) -> None:
        self._end = ExitStack()
        self._socket = self._end.enter_context(connect(address, max_size=None, open_timeout=30))
        self._numbers = itertools.count(1)
        self._session = ""
        self.requests: list[str] = []
        self.said: list[str] = []
        self._loaded = False

    def load(self, address: str, script: bool, metrics: dict[str, Any]) -> None:
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")
        if metrics:
            self.ask("Emulation.setDeviceMetricsOverride", deviceScaleFactor=1, **metrics)
        self.ask("Emulation.setScriptExecutionDisabled", value=not script)
        self._loaded = False
        self.ask("Page.navigate", url=address)
        deadline = time.monotonic() + 60
        while not self._loaded:
            assert time.monotonic() < deadline, "not loaded"
            self._take(json.loads(self._socket.recv(60)))

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv(60))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self._take(answer)

    def evaluate(self, expression: str) -> Any:
        """What an expression of ours gives in the page; it may be a promise."""
        answer = self.ask(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def media(self, media: str = "", scheme: str = "light") -> None:
        """Show it on `print`, or in another colour scheme."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.ask("Emulation.setEmulatedMedia", media=media, features=features)

    def close(self) -> None:
        self._end.close()

    def _take(self, event: dict[str, Any]) -> None:
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Page.javascriptDialogOpening":
            self.said.append(f"dialog: {parameters['message']}")
            self._socket.send(
                json.dumps(
                    {
                        "id": next(self._numbers),
                        "sessionId": self._session,
                        "method": "Page.handleJavaScriptDialog",
                        "params": {"accept": False},
                    }
                )
            )
        elif method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.said.append(json.dumps(parameters)[:500])
