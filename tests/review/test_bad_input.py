# SPDX-License-Identifier: Apache-2.0
"""Whatever a trace directory has been through: one clear line each, and the rest is still told.

Each row of the table is a directory that something happened to. The command is run on it as an
engineer would run it; the columns, for which these directories are too small, have to say the same.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import socket
import subprocess
import sys
from contextlib import closing
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.review.scene import Process, person
from ws_audit import schema
from ws_audit.review.segments import read
from ws_audit.review.telling.report import plain
from ws_audit.tools import cli

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = ["--now", "2026-11-23T10:25:30Z"]
# Many directories by one process: every second line asks the columns, from the first byte on.
MANY = """
import json, sys
from ws_audit.review.databases import columns
from ws_audit.review import source
from ws_audit.tools import cli
small, columns._WORTH_KEEPING = source._SMALL, 0
for words in json.load(sys.stdin):
    source._SMALL = small if "--html" in words else 0
    code = cli.main(["review", *words])
    print(f"\\n=== {code}")
"""
EVENTS = 4
TORN = r"torn \(killed or disk full in mid-write\), not counted"
UNFINISHED = r"process 100 on web-1 has not written its last coverage record .*"


class Case(NamedTuple):
    """What happened to a directory; the problems it has; what is still told of it."""

    happened: Callable[[Path], object]
    problems: tuple[str, ...]  # regular expressions, each of a whole line, in their order
    events: int = EVENTS
    frames: int = 150


def store(directory: Path) -> Path:
    """Two processes, four violations; nothing is wrong with it."""
    directory.mkdir()
    for pid, host in ((100, "web-1"), (7, "web-2")):
        process = Process(directory, pid=pid, host=host)
        process.leak(1, person("alice"), person("bob"))
        process.leak(2, person("alice"), person("carol"))
        process.cover(0, 60, 50 if pid == 7 else 100, final=True)
    (directory / "hash.key").write_text("0" * 64)
    return directory


def segment(directory: Path, kind: str = "violations") -> Path:
    (path,) = directory.glob(f"{kind}-web-1-*.jsonl")
    return path


def edited(old: bytes, new: bytes, kind: str = "violations") -> Callable[[Path], object]:
    def edit(directory: Path) -> None:
        path = segment(directory, kind)
        whole = path.read_bytes()
        assert old in whole
        path.write_bytes(whole.replace(old, new))

    return edit


def cut(share: float, kind: str = "violations") -> Callable[[Path], object]:
    """The last line ends early: so much of it is there."""

    def shorten(directory: Path) -> None:
        path = segment(directory, kind)
        *lines, last = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines) + last[: max(1, int(len(last) * share))])

    return shorten


def line_over(number: int, text: bytes, kind: str = "violations") -> Callable[[Path], object]:
    """A line is something else."""

    def replace(directory: Path) -> None:
        path = segment(directory, kind)
        lines = path.read_bytes().splitlines(keepends=True)
        lines[number] = text + b"\n"
        path.write_bytes(b"".join(lines))

    return replace


def beside(*names: str, text: str = "x") -> Callable[[Path], object]:
    return lambda directory: [(directory / name).write_text(text) for name in names]


def bound_socket(directory: Path) -> None:
    here = Path.cwd()
    os.chdir(directory)  # its path must be short
    try:
        with closing(socket.socket(socket.AF_UNIX)) as one:
            one.bind("violations-web-1-9-9-9.jsonl")
    finally:
        os.chdir(here)


def folder(directory: Path) -> None:
    (directory / ODD).mkdir()


def damaged_cache(directory: Path) -> None:
    (directory / "review.cache").mkdir(0o700)
    (directory / "review.cache" / "columns-0.parquet").write_bytes(b"PAR1\0\0")


def looped(directory: Path) -> None:
    (directory / "violations-web-1-9-9-9.jsonl").symlink_to("coverage-web-1-9-9-9.jsonl")
    (directory / "coverage-web-1-9-9-9.jsonl").symlink_to("violations-web-1-9-9-9.jsonl")


def keys(*ids: str) -> Callable[[Path], object]:
    """Each process says which key its hashes were made with."""

    def tell(directory: Path) -> None:
        for path, key in zip(sorted(directory.glob("coverage-*")), ids, strict=True):
            said = {"key": schema.KEY_ID, "value": {"stringValue": key}}
            whole = path.read_bytes()
            first = whole.index(b'{"key":"ws_audit.mode"')
            path.write_bytes(whole[:first] + json.dumps(said).encode() + b"," + whole[first:])

    return tell


ODD = "violations-web-1-9-9-9.jsonl"
CASES: dict[str, Case] = {
    "nothing": Case(lambda _: None, ()),
    # --- torn: what a kill, a full disk and a copy in mid-write leave
    **{
        f"outcome torn at {share:.0%}": Case(cut(share), (rf"violations.* line 4: {TORN}",))
        for share in (0.001, 0.3, 0.6, 0.99)
    },
    "coverage torn": Case(
        cut(0.9, "coverage"), (rf"coverage.* line 2: {TORN}", UNFINISHED), frames=50
    ),
    "outcomes lost": Case(
        lambda it: segment(it).write_bytes(
            b"".join(segment(it).read_bytes().splitlines(keepends=True)[1::2])
        ),
        (r"process 100 on web-1: 2 violations are known by their outcome only, .*",),
        events=2,
    ),
    "a segment empty": Case(lambda it: segment(it).write_bytes(b""), (), events=2),
    "coverage deleted": Case(
        lambda it: segment(it, "coverage").unlink(), (UNFINISHED,), frames=50
    ),
    # --- corrupted
    "bits flipped": Case(
        lambda it: segment(it).write_bytes(b"\x5b" + segment(it).read_bytes()[1:]),
        (
            r"violations.* line 1: corrupt, not counted",
            r"process 100 on web-1: 1 violations? .* outcome only, .*",
        ),
        events=3,
    ),
    "zeros": Case(line_over(3, b"\0" * 5000), (r"violations.* line 4: corrupt, not counted",)),
    "no UTF-8": Case(
        line_over(3, b'{"resourceSpans":"\xff\xfe"}'), (r"violations.* line 4: corrupt, .*",)
    ),
    "a huge line": Case(
        line_over(3, b'{"a":"' + b"x" * (3 << 20) + b'"}'),
        (r"violations.* line 4: longer than any line of ours, not counted",),
    ),
    "deep": Case(line_over(3, b"[" * 100_000), (r"violations.* line 4: corrupt, not counted",)),
    "nonsense": Case(
        edited(b'"stringValue":"confirmed"', b'"stringValue":"terrible"'),
        (
            r"violations.* line 1, and 1 more: corrupt, not counted",
            r"process 100 on web-1: 2 violations .* outcome only, .*",
        ),
        events=2,
    ),
    # --- of another version
    "a newer record": Case(
        edited(b'"version":"1"', b'"version":"2"'),
        (r"violations.* line 1, and 3 more: record version '2', this review reads version 1, .*",),
        events=2,
    ),
    "attributes nobody knows yet": Case(
        edited(b'{"key":"ws_audit.bytes"', b'{"key":"ws_audit.new","value":{"kvlistValue":'
               b'{"values":[]}}},{"key":"ws_audit.bytes"'), (),
    ),
    "attributes nobody wrote then": Case(
        edited(b'"key":"ws_audit.manager"', b'"key":"ws_audit.unrelated"'), ()
    ),
    "a kind of segment to come": Case(
        beside("ledger-web-1-100-1-1.jsonl"), (r"ledger-web-1-100-1-1.jsonl: no segment of .*",)
    ),
    "of other people": Case(
        edited(b'"name":"ws_audit"', b'"name":"opentelemetry.sdk"'),
        (r"violations.* line 1, and 3 more: written by 'opentelemetry.sdk', not by ws_audit, .*",),
        events=2,
    ),
    # --- not files, or not ours
    "foreign files": Case(
        beside("notes.txt", "core"),
        (r"core: no segment of ours, ignored", r"notes.txt: no segment of ours, ignored"),
    ),
    "a pipe": Case(lambda it: os.mkfifo(it / ODD), (rf"{ODD}: .*: not a regular file",)),
    "a socket": Case(bound_socket, (rf"{ODD}: .*: not a regular file",)),
    "a folder": Case(folder, (rf"{ODD}: .*: not a regular file",)),
    "a dangling link": Case(
        lambda it: (it / ODD).symlink_to("nowhere"), (rf"{ODD}: .*: No such file or directory",)
    ),
    "links in a circle": Case(
        looped, (r"coverage-.*: Too many levels .*", r"violations-.*: Too many levels .*")
    ),
    "names that do something": Case(
        beside("\x1b[2J\u202e<img src=x onerror=run()>\n", "violations-\x1b]8;;<b>-1-1-1.jsonl"),
        (
            r"\x1b\[2J\u202e<img src=x onerror=run\(\)>\n: no segment of ours, ignored",
            r"violations-\x1b\]8;;<b>-1-1-1.jsonl line 1: torn .*",
            r"process 1 on \x1b\]8;;<b> has not written .*",
        ),
    ),
    "a name that is no UTF-8": Case(
        lambda it: (it / os.fsdecode(b"\xff\xfe.txt")).touch(), (r"..\.txt: no segment of .*",)
    ),
    # --- what lies beside the segments
    "two hash keys": Case(
        keys("0a", "0b"),
        (r"2 hash keys were in use \(process 100 on web-1; process 7 on web-2\): .*",),
    ),
    "one hash key": Case(
        keys("0a", "0a"), ()
    ),
    "no hash key": Case(lambda it: (it / "hash.key").unlink(), ()),
    "a damaged journal": Case(
        beside("journal.jsonl", text='{"version":1}\n\0\0\n{"version":9}\n{"versi'),
        (
            r"journal.jsonl line 1: corrupt, not counted",
            r"journal.jsonl line 2: corrupt, not counted",
            r"journal.jsonl line 3: journal version '9', this one reads version 1, not counted",
            r"journal.jsonl line 4: torn .*",
        ),
    ),
    "a journal that is a pipe": Case(
        lambda it: os.mkfifo(it / "journal.jsonl"), (r"journal.jsonl: .*: not a regular file",)
    ),
    "a damaged cache": Case(
        damaged_cache,
        (),
    ),
    "a file in the cache's place": Case(beside("review.cache"), ()),
}  # fmt: skip


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[int, Any, str]]]:
    """What the line reader, the columns, and the columns again with their cache say of each."""
    root = tmp_path_factory.mktemp("bad")
    asked = []
    for number, (name, case) in enumerate(CASES.items()):
        directory = store(root / f"{number}")
        case.happened(directory)
        words = [str(directory), "--format", "json", *NOW]
        asked += [[*words, "--html", f"{directory}.html"], *[words] * by_columns(name)]
    done = run("-c", MANY, input=json.dumps(asked))
    assert (done.returncode, done.stderr) == (0, "")
    answers = re.findall(r"(.*?)\n=== (\d)\n", done.stdout, re.DOTALL)
    said = ((int(code), json.loads(text)) for text, code in answers)
    return {
        name: [
            (*next(said), (root / f"{number}.html").read_text())
            for _ in range(1 + by_columns(name))
        ]
        for number, name in enumerate(CASES)
    }


def by_columns(name: str) -> int:
    """How often the columns are asked: again, with what they have kept, where that matters."""
    return 2 if name == "nothing" or "cache" in name else 1


def run(*words: str | Path, **how: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **how,
    )


@pytest.mark.parametrize("name", CASES)
def test_what_can_be_read_is_told_and_what_cannot_is_named(
    told: dict[str, list[tuple[int, Any, str]]], name: str
) -> None:
    case = CASES[name]
    (code, review, page), *columns = told[name]
    assert code == 1  # there is a leak, whatever else there is
    problems = review["problems"]
    assert len(problems) == len(case.problems), problems
    for problem, pattern in zip(problems, case.problems, strict=True):
        assert re.fullmatch(pattern, problem), problem
        assert escape(plain(problem)) in page
    assert sum(it["events"] for it in review["incidents"]) == case.events
    assert review["coverage"]["frames"] == case.frames
    assert columns == [(code, review, page)] * by_columns(name)


def test_everything_at_once_is_still_a_review_on_a_terminal(tmp_path: Path) -> None:
    directory = store(tmp_path / "store")
    for name in ("bits flipped", "a pipe", "names that do something", "a damaged journal"):
        CASES[name].happened(directory)
    done = run("-m", "ws_audit", "review", directory, *NOW)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("LEAK CONFIRMED")
    assert "3 events delivered of 3 attempted" in done.stdout
    *_, problems = done.stdout.partition("What could not be read, or is missing:\n")
    assert all(line.startswith("  - ") for line in problems.splitlines())
    assert problems.count("\n") == 10
    assert all(it.isprintable() or it == "\n" for it in done.stdout)


@pytest.mark.parametrize("foreign", [[], ["notes.txt"]])
def test_a_directory_without_a_segment_claims_nothing(tmp_path: Path, foreign: list[str]) -> None:
    for name in foreign:
        (tmp_path / name).touch()
    done = run("-m", "ws_audit", "review", tmp_path, "--html", tmp_path / "page.html")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("NOTHING RECORDED HERE")
    problems = done.stdout.partition("missing:\n")[2].splitlines()
    assert problems == [
        *(f"  - {it}: no segment of ours, ignored" for it in foreign),
        f"  - {read.NO_SEGMENT}",
    ]
    assert read.NO_SEGMENT in (tmp_path / "page.html").read_text()


def bound_by_modes() -> None:
    """As anybody but root is: without the right to pass over the modes of files."""
    drop, over, search = 24, 1, 2  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    for right in (over, search):
        ctypes.CDLL(None).prctl(drop, right, 0, 0, 0)


def test_what_may_not_be_read_is_named(tmp_path: Path) -> None:
    directory = store(tmp_path / "store")
    segment(directory).chmod(0)
    done = run("-m", "ws_audit", "review", directory, "--format", "json", preexec_fn=bound_by_modes)
    if segment(directory).name not in done.stdout:
        pytest.skip("nothing is forbidden here: root, whose rights cannot be taken away")
    review = json.loads(done.stdout)
    assert done.returncode == 1
    assert sum(it["events"] for it in review["incidents"]) == 2
    assert review["problems"] == [f"{segment(directory).name}: cannot be read: Permission denied"]
    directory.chmod(0)
    done = run("-m", "ws_audit", "review", directory, preexec_fn=bound_by_modes)
    directory.chmod(0o700)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "Permission denied; expected a trace directory" in line


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda it: None, "No such file or directory"),
        (lambda it: it.touch(), "Not a directory"),
        (os.mkfifo, "Not a directory"),
        (lambda it: it.symlink_to(it), "Too many levels of symbolic links"),
        (lambda it: it.symlink_to("nowhere"), "No such file or directory"),
    ],
    ids=["nothing", "a file", "a pipe", "a circle", "a dangling link"],
)
def test_what_is_no_directory_is_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Callable[[Path], object], why: str
) -> None:
    make(tmp_path / "traces")
    page = tmp_path / "page.html"
    assert cli.main(["review", str(tmp_path / "traces"), "--html", str(page)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ws-audit review: {tmp_path / 'traces'}: {why}; expected a trace dir")
    assert not page.exists()
