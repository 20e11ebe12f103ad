# SPDX-License-Identifier: Apache-2.0
"""What `ws-audit learn` makes of an application's benign traffic, taken as it is.

Why it exists: a reviewed policy needs somebody who knows the application. What the tool finds
by itself, before anybody has looked at it, is a row of its own.

It must never see a defect, and nobody edits what it proposes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ws_audit.configuration.settings import load

from .freeze import content_hash
from .results import agent_hash, read
from .score import truth
from .world import BrokenError, Played, act, audited, copied, journal, serving

if TYPE_CHECKING:
    from .case import Application

# A tool that counts needs more than the few messages of one scenario: each kind is played on its
# own server again and again, by the same people, for so long or so often.
SECONDS, TIMES = 30.0, 8


@dataclass
class Learned:
    """The proposal for one application, and the traffic it stands on."""

    settings: str = ""
    plays: Counter[str] = field(default_factory=Counter)  # kind of traffic -> how often
    left_out: dict[str, str] = field(default_factory=dict)  # kind -> why
    problems: list[str] = field(default_factory=list)  # what the agent says of the proposal
    said: str = ""


def learn(application: Application) -> Learned:
    """Play the benign cases, nothing declared, and ask the tool."""
    learned = Learned()
    with tempfile.TemporaryDirectory(prefix="leaks-") as text:
        facts = Path(text, "facts")
        facts.mkdir()
        for case in application.benign:
            directory = Path(text, case.name)
            directory.mkdir()
            try:
                learned.plays[case.name] = _played(application, case.name, directory)
            except (BrokenError, OSError, subprocess.SubprocessError) as error:
                learned.left_out[case.name] = str(error)
                continue
            for file in (directory / "facts").iterdir():
                file.rename(facts / file.name)
        proposal = Path(text, "proposal.toml")
        words = ["-m", "ws_audit", "learn", "--output", str(proposal), str(facts)]
        done = subprocess.run(
            [sys.executable, *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        learned.said = done.stderr.replace(str(proposal), "the proposal")
        if done.returncode not in (0, 1):
            raise BrokenError(f"ws-audit learn: {done.stderr[-2000:]}")
        if proposal.exists():
            learned.settings = proposal.read_text()
            learned.problems = load({"WS_AUDIT_CONFIG": str(proposal)}, text)[1]
    return learned


def _played(application: Application, name: str, directory: Path) -> int:
    """How often one kind of traffic was played; leaves what the agent counted in `facts`."""
    people = copied(application, (), directory)
    (directory / "facts").mkdir()
    given = {**audited(directory, ""), "WS_AUDIT_REPORT": str(directory / "facts")}
    begun, times = time.monotonic(), 0
    with serving(application, directory, given, "none") as port:
        while times < TIMES and time.monotonic() - begun < SECONDS:
            clients = act(application, "BENIGN", name, port, directory)
            pairs, _ = truth(Played(people, journal(directory), None, ""))
            if pairs:
                raise BrokenError(f"played {times + 1} times it is not benign: {dict(pairs)}")
            if clients.returncode:
                # A scenario may only work with an application that has just begun.
                if times:
                    break
                raise BrokenError(f"the clients: {clients.stderr[-2000:]}")
            times += 1
    return times


def proposals(applications: list[Application], folder: Path, jobs: int) -> dict[str, str]:
    """One TOML for each application, in `folder`; those of the same agent are taken as they are.

    An application whose traffic could not be played has none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / "learned.json"
    about = {"hash": content_hash(), "agent": agent_hash()}
    known = read(index) if index.exists() else {}
    if any(known.get(key) != value for key, value in about.items()):
        known = {**about, "applications": {}}
    wanted = [one for one in applications if one.name not in known["applications"]]
    with ThreadPoolExecutor(jobs) as pool:
        for one, made in zip(wanted, pool.map(_learn, wanted), strict=True):
            if isinstance(made, Exception):
                print(f"BROKEN {one.name}: nothing was learned: {made}", file=sys.stderr)
                continue
            (folder / f"{one.name}.toml").write_text(made.settings)
            known["applications"][one.name] = {
                "plays": dict(made.plays),
                "left_out": made.left_out,
                "problems": made.problems,
                "said": made.said,
            }
            index.write_text(json.dumps(known, indent=1) + "\n")
    names = [one.name for one in applications if one.name in known["applications"]]
    return {name: (folder / f"{name}.toml").read_text() for name in names}


def _learn(application: Application) -> Learned | Exception:
    try:
        return learn(application)
    except Exception as error:
        return error
