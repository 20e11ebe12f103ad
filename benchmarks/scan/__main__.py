# SPDX-License-Identifier: Apache-2.0
"""How many of the first findings on public code somebody would act upon.

    python -m benchmarks.scan [--clones DIRECTORY]

Why it exists: a scanner is read once if its first page is noise. What would be acted upon was
written down (labels.json) before the scanner was run on that code for the first time.

It must never run what it fetches, nor count a finding as right that is not labelled.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ws_audit.scan.survey import survey

if TYPE_CHECKING:
    from ws_audit.scan.findings import Finding

LABELS: Final = Path(__file__).with_name("labels.json")
FIRST: Final = 20


def main() -> int:
    """Scan each labelled code base and print what was right; 1 if too little was."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scan")
    parser.add_argument(
        "--clones",
        type=Path,
        help="a directory with a clone OWNER+NAME of each, instead of fetching from GitHub",
    )
    options = parser.parse_args()
    counts: dict[str, tuple[int, int]] = {}
    for one in json.loads(LABELS.read_text(encoding="utf-8"))["code_bases"]:
        with tempfile.TemporaryDirectory() as name:
            # By its own name: a checkout's directory may be part of its modules' names.
            directory = Path(name) / one["repository"].partition("/")[2]
            directory.mkdir()
            _fetch(one, options.clones, directory)
            found = survey(str(directory))
        first = found.findings[:FIRST]
        judged = [(finding, _is_labelled(finding, one["act"])) for finding in first]
        good = sum(is_right for _, is_right in judged)
        right, shown = counts.get(one["set"], (0, 0))
        counts[one["set"]] = right + good, shown + len(first)
        print(f"{one['repository']} @ {one['commit'][:12]}: {found.summary}")
        print(f"  {good} of the first {len(first)} findings would be acted upon")
        for finding, is_right in judged:
            mark = " " if is_right else "-"
            print(f"  {mark} {finding.rule} {finding.path}:{finding.line} {finding.message}")
        told = {_place(one) for one in found.findings}
        # What the others are compared with is found, and no finding.
        told |= {(one.path, one.target.name) for one in found.implementations}
        for label in one["act"]:
            if not any(_fits(place, label) for place in told):
                print(f"  not found: {label['path']} {label['symbol']}: {label['why']}")
    for name, (right, shown) in counts.items():
        print(f"{name} set: {right} of {shown}: {100 * right / max(shown, 1):.0f} %")
    return int(any(right < 0.8 * shown for right, shown in counts.values()))


def _fetch(one: dict[str, Any], clones: Path | None, directory: Path) -> None:
    """The files of a commit, without a history."""
    owner_name, commit = one["repository"], one["commit"]
    if clones is None:
        url = f"https://github.com/{owner_name}"
        for words in (["init", "-q"], ["fetch", "-q", "--depth", "1", url, commit]):
            subprocess.run(["git", *words], cwd=directory, check=True)
        source = directory
        commit = "FETCH_HEAD"
    else:
        source = clones / owner_name.replace("/", "+")
        source = source / "repo" if (source / "repo").is_dir() else source
    archive = subprocess.run(
        ["git", "archive", "--format=tar", commit, "--", "*.py"],
        cwd=source,
        check=True,
        capture_output=True,
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(directory, filter="data")


def _place(finding: Finding) -> tuple[str, str]:
    subject = finding.subject.partition(" ")[0]
    return finding.path, subject.rpartition(":")[2]


def _fits(place: tuple[str, str], label: dict[str, str]) -> bool:
    return place == (label["path"], label["symbol"])


def _is_labelled(finding: Finding, act: list[dict[str, str]]) -> bool:
    return any(_fits(_place(finding), label) for label in act)


if __name__ == "__main__":
    sys.exit(main())
