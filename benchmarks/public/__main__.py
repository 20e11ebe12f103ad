# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.public [APP ...]`: published applications, unmodified, under the agent.

Why it exists: how much of somebody else's traffic can be judged is not to be guessed from
applications that were written for the purpose.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.leaks.results import agent_hash

from .report import RESULTS, VERDICTS, table
from .stage import NAMES, ROOT, ROUNDS, USERS, Run, StageError, environment_of, play


def main() -> int:
    """Exit code 0; 1 if one behaved differently or a leak was claimed, 2 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.public")
    parser.add_argument("apps", nargs="*", metavar="APP", help=f"of {', '.join(NAMES)}; all")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of each user ({ROUNDS})")
    parser.add_argument(
        "--venvs",
        type=Path,
        default=ROOT / ".venv-public",
        metavar="DIRECTORY",
        help="where they are installed, each in an environment of its own",
    )
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE")
    options = parser.parse_args()
    for name in options.apps:
        if name not in NAMES:
            parser.error(f"no application {name!r}; expected one of {', '.join(NAMES)}")
    kept = json.loads(options.json.read_text()) if options.json.exists() else {}
    code = 0
    for name in options.apps or NAMES:
        try:
            python = environment_of(name, options.venvs)
            kept[name] = measure(name, python, options.rounds)
        except StageError as error:
            print(f"{name}: {error}", file=sys.stderr)
            code = 2
            continue
        if any(not one["same"] or one["incidents"] for one in kept[name]["runs"].values()):
            code = max(code, 1)
        options.json.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    print(table(kept))
    return code


def measure(name: str, python: Path, rounds: int) -> dict[str, Any]:
    """One application: without the agent, with it, with its package named, and as learned."""
    app = importlib.import_module(f"benchmarks.public.apps.{name}")
    without = play(name, python, None, rounds)
    again = play(name, python, None, rounds)
    if without.messages != again.messages:
        raise StageError("without the agent it does not say the same twice: nothing to compare")
    with tempfile.TemporaryDirectory(prefix="public-") as folder:
        facts, proposal = Path(folder, "facts"), Path(folder, "ws-audit.toml")
        facts.mkdir()
        named = {"WS_AUDIT_INCLUDE": app.INCLUDE}
        runs = {
            "nothing declared": play(name, python, {}, rounds),
            "package named": play(name, python, {**named, "WS_AUDIT_REPORT": str(facts)}, rounds),
        }
        words = ["-m", "ws_audit", "learn", "--output", str(proposal), str(facts)]
        subprocess.run(
            [str(python), *words], capture_output=True, text=True, timeout=60, check=False
        )
        settings = proposal.read_text() if proposal.exists() else ""
        if any(line and not line.startswith("#") for line in settings.splitlines()):
            learned = {**named, "WS_AUDIT_CONFIG": str(proposal)}
            runs["learned, unreviewed"] = play(name, python, learned, rounds)
        declared = Path(folder, "declared.toml")
        declared.write_text(app.DECLARED)
        runs["declared by hand"] = play(name, python, {"WS_AUDIT_CONFIG": str(declared)}, rounds)
    version = subprocess.run(
        [str(python), "-c", f"from importlib.metadata import version as v; print(v({name!r}))"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return {
        "what": app.WHAT,
        "version": version.stdout.strip(),
        "agent": agent_hash(),
        "users": len(USERS),
        "received": without.received,
        "proposal": settings,
        "declared": app.DECLARED,
        "runs": {label: _figures(run, without) for label, run in runs.items()},
    }


def _figures(run: Run, without: Run) -> dict[str, Any]:
    verdicts = {name: run.counted[name] for name in VERDICTS}
    return {
        "same": run.messages == without.messages,
        "frames": sum(verdicts.values()),
        "verdicts": verdicts,
        "reasons": {
            name: count
            for name, count in sorted(run.counted.items())
            if count and name not in VERDICTS
        },
        "incidents": [
            {key: one[key] for key in ("rule", "severity", "events", "sites")}
            for one in run.incidents
        ],
        "started": next((one for one in run.said.splitlines() if "manager class" in one), "").split(
            ", store"
        )[0],
    }


if __name__ == "__main__":
    sys.exit(main())
