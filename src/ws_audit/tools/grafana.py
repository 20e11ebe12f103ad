# SPDX-License-Identifier: Apache-2.0
"""`ws-audit grafana DIR`: dashboards, alert rules and data sources, ready to mount.

Why it exists: nobody should have to edit ten files to say that their Prometheus has another uid,
or that only two scrape jobs are meant.

It must never overwrite a file somebody else wrote, or write half a tree because one is in the way.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ws_audit.grafana.options import DEFAULTS, BadOptionError, Options

if TYPE_CHECKING:
    import argparse

_INSTALL: Final = "pip install 'ws-audit[grafana]' (with Python 3.11 or newer)"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line of `grafana` takes."""
    parser.description = (
        "Write dashboards, alert rules, data sources and samples of who is told into DIR."
    )
    parser.epilog = "Exit code: 0 written or up to date already, 2 bad usage, nothing was written."
    parser.add_argument("directory", metavar="DIR", help="where to write; made if it is missing")
    for name in ("prometheus", "tempo", "clickhouse"):
        parser.add_argument(
            f"--{name}-uid",
            metavar="UID",
            default=DEFAULTS[f"{name}_uid"],
            help=f"uid of the {name.capitalize()} data source in Grafana; default: %(default)s",
        )
    parser.add_argument(
        "--job",
        metavar="REGEX",
        default=DEFAULTS["job"],
        help="the scrape jobs that are meant; default: every one that shows the agent",
    )
    parser.add_argument(
        "--folder",
        default=DEFAULTS["folder"],
        help="Grafana's folder for dashboards and alerts; default: %(default)s",
    )
    parser.add_argument(
        "--dashboards",
        metavar="PATH",
        default=DEFAULTS["dashboards"],
        help="where Grafana will find DIR/dashboards; default: %(default)s",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="overwrite files that are not, or no longer, as this command wrote them",
    )


def main(options: argparse.Namespace) -> int:
    """Write the tree and say what to do with it."""
    try:
        wanted = Options(
            options.prometheus_uid,
            options.tempo_uid,
            options.clickhouse_uid,
            options.job,
            options.folder,
            options.dashboards,
        )
    except BadOptionError as error:
        return _refuse(str(error))
    try:
        from ws_audit.grafana.write import MANIFEST, digest, files
    except ModuleNotFoundError as error:
        return _refuse(f"the module {error.name} is not installed: {_INSTALL}")

    root = Path(options.directory)
    made = files(wanted)
    try:
        present = {path: _read(root / path) for path in made}
        written = _written(present[MANIFEST])
        foreign = [
            path
            for path, text in present.items()
            if text not in (None, made[path])
            and path != MANIFEST
            and digest(text or "") != written.get(path)
        ]
        if foreign and not options.force:
            names = ", ".join(str(root / path) for path in foreign)
            return _refuse(f"{names}: not as this command wrote it; --force overwrites")
        for path, text in made.items():
            if present[path] != text:
                _write(root / path, text)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is no text"
        where = getattr(error, "filename", None) or root
        return _refuse(f"{where}: {why}; expected a directory that can be written")
    _tell(root, made, present, wanted)
    return 0


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _written(manifest: str | None) -> dict[str, str]:
    """Digests of what this command wrote here before; none if that cannot be read."""
    try:
        found = json.loads(manifest or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, text: str) -> None:
    """All of it or nothing: Grafana may be reading the directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _refuse(why: str) -> int:
    print(f"ws-audit grafana: {why}", file=sys.stderr)
    return 2


def _tell(
    root: Path, made: dict[str, str], present: dict[str, str | None], wanted: Options
) -> None:
    lines = []
    for path, text in made.items():
        before = present[path]
        state = "new" if before is None else "unchanged" if before == text else "changed"
        lines.append(f"{state:10}{root / path}")
    lines.append(
        f"""
Grafana: mount three folders and restart it.
  {root}/provisioning/datasources  /etc/grafana/provisioning/datasources  (its head: what to set)
  {root}/provisioning/dashboards   /etc/grafana/provisioning/dashboards
  {root}/dashboards                {wanted.dashboards}
Alerts: one of the two.
  Prometheus: {root}/prometheus/ws_audit.rules.yml under rule_files
  Grafana:    {root}/provisioning/alerting at /etc/grafana/provisioning/alerting
Who is told, samples to copy and edit: {root}/provisioning/alerting-samples, {root}/alertmanager
One dashboard by hand: Dashboards, New, Import, and a file of {root}/dashboards."""
    )
    try:
        print("\n".join(lines), flush=True)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
