# SPDX-License-Identifier: Apache-2.0
"""The tests on every Python we promise, with the newest and the oldest libraries we promise.

    python tests/matrix.py [--cells GLOB ...] [--folders NAME ...] [--missing fail|say] [--jobs N]

Why it exists: `requires-python` and every lower bound of pyproject.toml are promises. A cell is
a virtual environment of its own with the built wheel in it, named PYTHON-VERSIONS-WRAPT:
`3.10-oldest-c` has the lower bounds, `3.13-locked-pure` the versions of uv.lock and wrapt without
its C extension. In each run the tests of some folders and the demo. Needs uv and hatchling.

It must never take something else for the cell it names: before the tests the versions in it are
read, and whether wrapt's extension is loaded. A Python that is not there fails the command or,
with `--missing say`, is named.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACE = ROOT / ".venv-matrix"
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
LOCKED, OLDEST = "locked", "oldest"
C, PURE = "c", "pure"
# Without the extension at both ends only: what wrapt does there does not depend on what is between.
CELLS = [
    *(f"{python}-{versions}-{C}" for python in PYTHONS for versions in (LOCKED, OLDEST)),
    *(
        f"{python}-{versions}-{PURE}"
        for python in ("3.10", "3.13")
        for versions in (LOCKED, OLDEST)
    ),
]
FOLDERS = ("unit", "faults", "startup")
DEMO = "demo"
# What is raised where the lower bound cannot be had: pydantic is the tests' own, and wrapt 1.16 has
# no wheel with its extension for 3.13 (without one it installs, and that is a cell as well).
RAISED = {
    f"3.13-{OLDEST}-{C}": {"pydantic": "2.8", "wrapt": "1.17"},
    f"3.13-{OLDEST}-{PURE}": {"pydantic": "2.8"},
}
# What a cell is, told by itself: its Python, its versions, and what wrapt is made of.
TELL = """
import importlib.metadata as metadata, json, re, sys, wrapt
bounds = {}
for text in metadata.requires("ws-audit"):
    extra = re.search(r"extra == .(\\w+)", text)
    marked = "python_version" in text and sys.version_info >= (3, 11)
    if not marked and (extra is None or extra[1] == "demo"):
        name, bound = re.match(r"([A-Za-z0-9-]+).*?>=([0-9.]+)", text).groups()
        bounds[name] = [bound, metadata.version(name)]
print(json.dumps({
    "python": "%d.%d" % sys.version_info[:2],
    "bounds": bounds,
    "c": "wrapt._wrappers" in sys.modules,
}))
"""


class BrokenError(Exception):
    """A step of a cell has failed; what it said is in the cell's log."""


@dataclass
class Cell:
    """One combination and what came of it."""

    name: str
    folders: tuple[str, ...]
    result: str = ""
    facts: str = ""
    seconds: float = 0.0
    counts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.python, self.versions, self.wrapt = self.name.split("-")
        self.root = PLACE / self.name
        self.log = PLACE / f"{self.name}.log"
        self.raised = RAISED.get(self.name, {})

    @property
    def failed(self) -> bool:
        return self.result != "ok"

    # -- the cell's processes -----------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        dropped = ("WS_AUDIT_", "OTEL_", "PROMETHEUS_", "PYTHON", "WRAPT_", "PIP_", "VIRTUAL_ENV")
        found = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        found["PATH"] = f"{self.root / 'bin'}{os.pathsep}{found.get('PATH', os.defpath)}"
        found["VIRTUAL_ENV"] = str(self.root)
        found["PYTHONDONTWRITEBYTECODE"] = "1"
        if self.wrapt == PURE:
            found["WRAPT_DISABLE_EXTENSIONS"] = "1"
        return found

    def call(self, *words: str | Path, expected: int = 0) -> str:
        with self.log.open("a") as log:
            log.write(f"\n$ {' '.join(map(str, words))}\n")
        done = subprocess.run(
            list(map(str, words)),
            cwd=ROOT,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        with self.log.open("a") as log:
            log.write(done.stdout)
        if done.returncode != expected:
            raise BrokenError(done.stdout)
        return done.stdout

    # -- its steps --------------------------------------------------------------------------------

    def install(self, uv: str, interpreter: str, wheel: Path) -> None:
        self.call(uv, "venv", "--quiet", "--clear", "--seed", "--python", interpreter, self.root)
        install = (uv, "pip", "install", "--quiet", "--python", self.root / "bin" / "python")
        if self.versions == LOCKED:
            self.call(*install, "--no-deps", "-r", "requirements.txt")
        else:
            oldest = ("--resolution", "lowest-direct", "-r", "pyproject.toml", "--extra", "test")
            self.call(*install, *oldest, *(f"{name}>={at}" for name, at in self.raised.items()))
        self.call(*install, "--no-deps", wheel)

    def check(self) -> None:
        """That it is what it is called."""
        told = json.loads(self.call("python", "-c", TELL))
        bounds: dict[str, list[str]] = told["bounds"]
        has = {name: version for name, (_, version) in bounds.items()}
        self.facts = " ".join(f"{name} {has[name]}" for name in ("wrapt", "opentelemetry-sdk"))
        self.facts += f" fastapi {has['fastapi']} {'C' if told['c'] else 'pure'}"
        wrong = []
        if told["python"] != self.python:
            wrong.append(f"Python {told['python']}")
        if told["c"] != (self.wrapt == C):
            wrong.append(f"wrapt {'with' if told['c'] else 'without'} its C extension")
        if self.versions == OLDEST:
            wrong += [
                f"{name} {version} is not the bound {bound}"
                for name, (bound, version) in bounds.items()
                if release(version) != release(self.raised.get(name, bound))
            ]
        if wrong:
            raise BrokenError(f"not the cell {self.name}: {', '.join(wrong)}")

    def test(self) -> None:
        for folder in self.folders:
            try:
                if folder == DEMO:
                    self.call("ws-audit", "demo")
                    self.call("ws-audit", "demo", "--leak", "all", expected=1)
                    self.counts[folder] = "ok"
                else:
                    self.counts[folder] = summary(self.call("python", *pytest(folder)))
            except BrokenError as error:
                self.counts[folder] = summary(str(error)) if folder != DEMO else "failed"
                self.result = "failed"

    def run(self, uv: str, interpreter: str, wheel: Path) -> None:
        begun = time.monotonic()
        self.log.unlink(missing_ok=True)
        try:
            self.install(uv, interpreter, wheel)
            self.check()
            self.test()
            self.result = self.result or "ok"
        except BrokenError as error:
            self.result = "not set up: " + (str(error).strip().splitlines() or ["?"])[-1]
        self.seconds = time.monotonic() - begun


def release(version: str) -> tuple[int, ...]:
    """1.16 and 1.16.0 are one release."""
    numbers = [int(number) for number in version.split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def pytest(folder: str) -> tuple[str, ...]:
    shared = ("--numprocesses=auto", "--maxprocesses=4")
    return ("-m", "pytest", "-q", "-p", "no:cacheprovider", *shared, f"tests/{folder}")


def summary(output: str) -> str:
    """`123 passed, 1 skipped` of pytest's last line."""
    for line in reversed(output.splitlines()):
        counts = re.findall(r"\d+ (?:passed|failed|errors?|skipped|xfailed)", line)
        if counts:
            return ", ".join(counts)
    return "no tests ran"


def interpreter(python: str) -> str | None:
    """A command of that version: on PATH, pyenv's, or one uv knows; it has to run."""
    home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [shutil.which(f"python{python}"), sys.executable]
    found += sorted(map(str, home.glob(f"versions/{python}.*/bin/python{python}")), reverse=True)
    for command in filter(None, found):
        told = subprocess.run(
            [command, "-c", "import sys, ensurepip; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=False,
        )
        if told.returncode == 0 and told.stdout.strip() == python:
            return command
    return None


def build() -> Path:
    """The wheel every cell gets."""
    folder = PLACE / "wheel"
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def table(cells: list[Cell], folders: tuple[str, ...]) -> str:
    """What came of every cell."""
    rows = [["cell", "in it", *folders, "seconds", "result"]]
    rows += [
        [
            cell.name,
            cell.facts,
            *(cell.counts.get(folder, "-") for folder in folders),
            f"{cell.seconds:.0f}",
            cell.result,
        ]
        for cell in cells
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="the tests in every promised combination")
    parser.add_argument("--cells", nargs="+", default=["*"], help="globs of cell names")
    parser.add_argument("--folders", nargs="+", default=[*FOLDERS, DEMO], help="of tests, or demo")
    parser.add_argument("--missing", choices=["fail", "say"], default="fail")
    parser.add_argument("--jobs", type=int, default=1, help="cells at once")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    folders = tuple(given.folders)
    cells = [
        Cell(name, folders)
        for name in CELLS
        if any(fnmatch.fnmatch(name, pattern) for pattern in given.cells)
    ]
    if not cells:
        print(f"no cell is called that; there are: {' '.join(CELLS)}", file=sys.stderr)
        return 2
    uv = shutil.which(
        "uv", path=os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    )
    if uv is None:
        print("uv is missing: pip install uv, or make matrix", file=sys.stderr)
        return 2
    PLACE.mkdir(exist_ok=True)
    wheel = build()
    pythons = {python: interpreter(python) for python in {cell.python for cell in cells}}

    def run(cell: Cell) -> None:
        command = pythons[cell.python]
        if command is None:
            cell.result = f"Python {cell.python} is missing"
        else:
            cell.run(uv, command, wheel)
        print(f"{cell.name}: {cell.result} ({cell.seconds:.0f} s)", flush=True)

    with ThreadPoolExecutor(given.jobs) as pool:
        list(pool.map(run, cells))
    print(f"\n{table(cells, folders)}\n")
    missing = [cell for cell in cells if pythons[cell.python] is None]
    failed = [cell for cell in cells if cell.failed and cell not in missing]
    for cell in failed:
        print(f"{cell.name} failed; its log is {cell.log.relative_to(ROOT)}. The last of it:")
        print("\n".join(cell.log.read_text().splitlines()[-30:]))
    if missing:
        names = ", ".join(sorted({cell.python for cell in missing}))
        print(f"NOT TESTED, no such Python here: {names} ({len(missing)} of {len(cells)} cells)")
    return 1 if failed or (missing and given.missing == "fail") else 0


if __name__ == "__main__":
    sys.exit(main())
