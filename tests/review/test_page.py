# SPDX-License-Identifier: Apache-2.0
"""The page as text: its numbers are the JSON's, its structure holds, every string is escaped."""

from __future__ import annotations

import ast
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ws_audit
from tests.review import scene
from tests.review.conftest import NOW, told
from ws_audit.model import SEVERITIES
from ws_audit.review.segments import rows
from ws_audit.review.telling.page import document, pairs, words
from ws_audit.tools import cli

if TYPE_CHECKING:
    from ws_audit.review.telling.story import Story

VOID = {"meta", "link", "input", "br", "col", "wbr"}
MARKUP = "</script><script>run()</script><img src=x onerror=run()>'\"&{}</title></style>"
HOSTILE = f"\u202e{MARKUP}\u2066\x1b[2J\ud800" + "W" * 40


class Element:
    """An element with what is in it."""

    def __init__(self, name: str, attributes: dict[str, str], parent: Element | None) -> None:
        self.name = name
        self.attributes = attributes
        self.parent = parent
        self.children: list[Element] = []
        self.content: list[Element | str] = []

    @property
    def text(self) -> str:
        return "".join(it if isinstance(it, str) else it.text for it in self.content)

    def all(self, name: str = "", **attributes: str) -> list[Element]:
        wanted = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
        found = []
        for child in self.children:
            if name in ("", child.name) and wanted.items() <= child.attributes.items():
                found.append(child)
            found += child.all(name, **attributes)
        return found

    def one(self, name: str = "", **attributes: str) -> Element:
        (found,) = self.all(name, **attributes)
        return found


class Tree(HTMLParser):
    """A page, parsed; refuses what is not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.root = self._here = Element("", {}, None)
        self.shape: list[tuple[str, tuple[str, ...]]] = []
        self.feed(text)
        self.close()
        assert self._here is self.root

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "wbr":
            return  # where a text may break: as many as it has joints
        attributes = {key: value or "" for key, value in attrs}
        assert len(attributes) == len(attrs), (tag, attrs)
        element = Element(tag, attributes, self._here)
        self._here.children.append(element)
        self._here.content.append(element)
        self.shape.append((tag, tuple(attributes)))
        if tag not in VOID:
            self._here = element

    def handle_endtag(self, tag: str) -> None:
        assert tag == self._here.name
        assert self._here.parent is not None
        self._here = self._here.parent

    def handle_data(self, data: str) -> None:
        self._here.content.append(data)


def tree(story: Story) -> Tree:
    return Tree(document.render(story))


def value(element: Element, name: str) -> int:
    return int(element.one("data", data_name=name).attributes["value"])


def hostile_scene(directory: Path, text: str = HOSTILE) -> None:
    """Two processes that say the worst in every text there is; with another `text`, the same."""
    directory.mkdir(parents=True, exist_ok=True)
    for pid in (7, 8):
        process = scene.Process(
            directory, service=text, version=text, pid=pid, host="box", said_host=text
        )
        said: dict[str, Any] = dict.fromkeys(
            (
                *("ws_audit.event", "ws_audit.manager", "ws_audit.site", "ws_audit.kind"),
                *("ws_audit.transport", "code.function.name", "ws_audit.connection.id"),
                *("ws_audit.delivery.id", "ws_audit.payload.path"),
                *("ws_audit.evidence.payload.hash", "ws_audit.evidence.payload.at"),
                *("ws_audit.evidence.payload.source", "ws_audit.evidence.payload.strength"),
            ),
            text,
        )
        start = dict.fromkeys(
            ("ws_audit.mode", "ws_audit.version", "process.runtime.version"), text
        )
        process.write("coverage", process.span("ws_audit.process", 0, 0, start))
        process.send(0.5, text)
        process.leak(1, text, scene.person("alice"), outcome=text, **said)
        process.leak(2, scene.person("alice"), text, rule=text, **said)
        reasons: dict[str, Any] = {text: 3}
        process.cover(0, 60, 100, **reasons)


# --- numbers ----------------------------------------------------------------------------------


def test_the_banners_figures_are_those_of_the_worst_incidents(night: Story) -> None:
    banner = tree(night).root.one("section", id="banner")
    incidents = night.json["incidents"]
    worst = [it for it in incidents if it["severity"] == "confirmed"]
    assert 0 < len(worst) < len(incidents)
    seen = {(pair["owner"], pair["recipient"]) for it in worst for pair in it["pairs"]}
    assert value(banner, "pairs") == len(seen)
    assert value(banner, "people") == len({person for pair in seen for person in pair})
    for name in ("events", "attempted", "bytes"):
        assert value(banner, name) == sum(it[name] for it in worst)
    assert banner.one("time", data_name="first").attributes["datetime"] == worst[0]["first_seen"]
    assert banner.one("time", data_name="last").attributes["datetime"] == worst[0]["last_seen"]
    assert banner.one("span", data_name="ongoing").attributes["data-value"] == "True"
    assert "Leak confirmed" in banner.text
    assert "Further incidents: 1 probable, 1 suspected, 1 hygiene." in banner.text


def test_every_incident_is_listed_with_the_jsons_figures(night: Story) -> None:
    table = tree(night).root.one("section", id="incidents")
    rows = [it for it in table.all("tr") if "data-incident" in it.attributes]
    assert [it.attributes["data-incident"] for it in rows] == [
        it["id"] for it in night.json["incidents"]
    ]
    for row, incident in zip(rows, night.json["incidents"], strict=True):
        assert value(row, "pairs") == len(incident["pairs"])
        for name in ("events", "attempted", "bytes"):
            assert value(row, name) == incident[name]
        for name in ("first_seen", "last_seen"):
            assert row.one("time", data_name=name).attributes["datetime"] == incident[name]
        assert incident["severity"] in row.text
        assert incident["sites"][0] in row.text


def test_every_pair_is_listed_with_the_jsons_figures(night: Story) -> None:
    section = tree(night).root.one("section", id="pairs")
    rows = {
        (it.attributes["data-owner"], it.attributes["data-recipient"]): it
        for it in section.all("tr")
        if "data-owner" in it.attributes
    }
    expected: dict[tuple[str, str], dict[str, Any]] = {}
    for incident in night.json["incidents"]:
        if incident["severity"] != "hygiene":
            for pair in incident["pairs"]:
                assert expected.setdefault((pair["owner"], pair["recipient"]), pair) is pair
    assert rows.keys() == expected.keys()
    for key, pair in expected.items():
        assert value(rows[key], "events") == pair["events"]
        assert pair["severity"] in rows[key].text
        for name in ("first_seen", "last_seen"):
            assert rows[key].one("time", data_name=name).attributes["datetime"] == pair[name]
    attempted = sum(
        it["attempted"] for it in night.json["incidents"] if it["severity"] != "hygiene"
    )
    assert sum(value(row, "attempted") for row in rows.values()) == attempted
    total = sum(pair["events"] for pair in expected.values())
    assert value(section, "matrix-total") == total


def test_what_was_seen_is_kept_apart_from_what_may_have_been(night: Story) -> None:
    section = tree(night).root.one("section", id="pairs")
    confirmed = [it for it in night.pairs if it.severity == "confirmed" and it.events]
    assert value(section, "confirmed-pairs") == len(confirmed) == 6
    assert value(section, "confirmed-events") == sum(it.events for it in confirmed) == 505
    assert value(section, "possible-pairs") == 2
    assert value(section, "possible-events") == 10
    assert value(section, "tried-pairs") == 1
    assert value(section, "tried-events") == 0
    assert value(section, "unjudged") == 666


def test_what_could_not_be_seen_is_the_jsons_too(night: Story) -> None:
    section = tree(night).root.one("section", id="unseen")
    for name in ("frames", "judged", "unattributed", "excused", "dropped"):
        assert value(section, name) == night.json["coverage"][name]
    reasons = {
        row.attributes["data-reason"]: value(row, "reason")
        for row in section.all("tr")
        if "data-reason" in row.attributes
    }
    assert reasons == {
        "undeclared_broadcast": 480,
        "no_evidence": 100,
        "no_principal": 66,
        "opaque_payload": 20,
    }
    assert sum(reasons.values()) == night.json["coverage"]["unattributed"]
    for name in ("first", "last"):
        told_ = section.one("time", data_name=f"window-{name}").attributes["datetime"]
        assert told_ == night.json["window"][name]
    assert [it.text for it in section.one("ul", class_="problems").all("li")] == (
        night.json["problems"]
    )


def test_where_all_was_judged_nothing_could_be_hidden(night: Story) -> None:
    words = "more leaks could be among them"
    assert words in tree(night).root.one("section", id="pairs").text
    coverage = night.json["coverage"]
    whole = night._replace(
        json=night.json | {"coverage": coverage | {"judged": coverage["frames"]}}
    )
    assert words not in tree(whole).root.one("section", id="pairs").text


def test_many_pairs_stay_usable_and_none_is_passed_over_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 2000 <= pairs.MAX_LISTED <= 5000
    monkeypatch.setattr(pairs, "MAX_LISTED", 600)
    scene.crowd(tmp_path, pairs=800, violations=800)
    story = told(tmp_path)
    text = document.render(story)
    assert len(text) < 1_500_000
    section = Tree(text).root.one("section", id="pairs")
    listed = [it for it in section.all("tr") if "data-owner" in it.attributes]
    assert len(listed) == 600
    assert "200 more pairs are not on this page" in section.text
    outside = [it for it in listed if not _within(it, "details")]
    assert len(outside) == 20
    matrix = section.one("table", class_="matrix")
    assert len(matrix.all("tr")) <= 15
    assert value(section, "matrix-total") == 800
    sums = [int(it.attributes["value"]) for it in matrix.one("tfoot").all("data")]
    assert sum(sums[:-1]) == sums[-1] == 800


def test_people_without_a_lane_are_said_to_be_left_out(tmp_path: Path, night: Story) -> None:
    scene.crowd(tmp_path, pairs=300, violations=300)
    story = told(tmp_path)
    assert story.lanes is not None
    people = len({it for pair in story.pairs for it in (pair.owner, pair.recipient)})
    legend = tree(story).root.one("section", id="timeline").one("figcaption")
    assert f"Left out: {people - 12:,} people" in legend.text
    assert value(legend, "drawn") == story.lanes.shown < 300
    whole = tree(night).root.one("section", id="timeline").one("figcaption")
    assert "Left out" not in whole.text
    assert value(whole, "drawn") == sum(
        it["attempted"] for it in night.json["incidents"] if it["severity"] != "hygiene"
    )


def test_who_acknowledged_is_told_with_times_and_nothing_is_concluded(night: Story) -> None:
    wanted = night.json["incidents"][0]["id"]
    ack = rows.JournalRow(NOW, wanted, "Eve <eve@example.com>", "told the DPO", 1, 2)
    first = night.incidents[0]._replace(acks=(ack,))
    story = night._replace(journal=(ack,), incidents=(first, *night.incidents[1:]))
    root = tree(story).root
    line = root.one("table", class_="journal").all("tr")[1]
    assert (
        line.one("time", data_name="acknowledged")
        .attributes["datetime"]
        .startswith("2026-11-23T10:25:30")
    )
    for said in (wanted, "Eve <eve@example.com>", "told the DPO"):
        assert said in line.text
    assert "by Eve <eve@example.com>: told the DPO" in root.one(id="incident-1").text
    facts = root.one("section", id="appendix").text
    assert "2026-11-26 10:25:30" in facts  # 72 hours later
    assert "no legal assessment" in facts
    assert "nobody has acknowledged" in tree(night).root.one("section", id="appendix").text


def test_what_is_acknowledged_raises_no_alarm_and_is_not_forgotten(tmp_path: Path) -> None:
    writer = scene.Process(tmp_path)
    writer.leak(0, scene.person("a"), scene.person("b"))
    writer.leak(9, scene.person("a"), scene.person("b"), ws_audit__site="chat.pool:Pool.take:8")
    one, other = (it.json["id"] for it in told(tmp_path).incidents)

    def acknowledge(id_: str) -> Element:
        said = ["--by", "Eve", "--note", "fixed in 1.2.4", "--source", str(tmp_path)]
        assert cli.main(["review", "ack", id_, *said]) == 0
        story = told(tmp_path)
        assert [it.incident for it in story.journal][-1:] == [id_]
        return tree(story).root

    root = acknowledge(one)
    banner = root.one("section", id="banner")
    assert banner.attributes["class"] == "banner alarm"
    assert value(banner, "events") == 1
    assert "Further incidents: 1 confirmed, of them 1 acknowledged." in banner.text
    assert "by Eve: fixed in 1.2.4" in root.one("section", id="cause").text

    banner = acknowledge(other).one("section", id="banner")
    assert banner.attributes["class"] == "banner calm"
    assert "Nothing open" in banner.text
    assert value(banner, "events") == 2


def test_only_what_was_sent_to_somebody_is_called_a_leak(tmp_path: Path) -> None:
    writer = scene.Process(tmp_path)
    a, b = scene.person("a"), scene.person("b")
    writer.leak(0, a, b, rule="rebound_connection", severity="probable")
    root = tree(told(tmp_path)).root
    banner = root.one("section", id="banner")
    assert "A connection was given to a second person (probable)" in banner.text
    assert "no wrong delivery seen" in banner.text
    assert "eak " not in banner.text
    assert value(banner, "happened") == 1
    assert not banner.all("data", data_name="events")
    assert "came second on the connection of" in root.one("section", id="evidence").text
    assert not root.all("section", id="pairs")


def test_a_self_tests_own_leak_is_not_told(tmp_path: Path) -> None:
    writer = scene.Process(tmp_path)
    writer.cover(0, 60, 5, final=True)
    player = scene.Process(tmp_path, pid=9)
    player.cover(0, 60, 5, final=True)
    player.leak(3000, scene.person("a"), scene.person("b"), ws_audit__synthetic=True)
    story = told(tmp_path)
    assert story.incidents == ()
    assert story.silences == ()
    assert [len(it.violations) for it in story.lives] == [0, 0]


def _within(element: Element, name: str) -> bool:
    here: Element | None = element
    while here is not None:
        if here.name == name:
            return True
        here = here.parent
    return False


@pytest.mark.parametrize(
    ("cover", "headline"),
    [(0, "Nothing recorded here"), (1, "Nothing judged"), (2, "No violation")],
)
def test_a_zero_does_not_stand_alone(tmp_path: Path, cover: int, headline: str) -> None:
    if cover:
        process = scene.Process(tmp_path)
        process.cover(0, 60, 50, final=True, no_evidence=0 if cover == 2 else 50)
    root = tree(told(tmp_path)).root
    banner = root.one("section", id="banner")
    assert headline in banner.text
    assert ("says nothing about leaks" in banner.text) is (cover < 2)
    assert not root.all("section", id="pairs")


# --- structure --------------------------------------------------------------------------------


def test_it_can_be_found_ones_way_in(night: Story) -> None:
    page = tree(night)
    root = page.root
    assert root.one("html").attributes["lang"] == "en"
    for landmark in ("header", "nav", "main", "footer", "h1"):
        assert len(root.all(landmark)) == 1
    levels = [int(name[1]) for name, _ in page.shape if re.fullmatch("h[1-6]", name)]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(it.attributes.get("scope") in ("col", "row") for it in root.all("th"))
    assert all(it.all("caption") for it in root.all("table"))
    ids = [it.attributes["id"] for it in root.all() if "id" in it.attributes]
    assert len(ids) == len(set(ids))
    links = [it.attributes["href"] for it in root.all("a")]
    assert all(it.startswith("#") and it[1:] in ids for it in links)
    picture = root.one("svg", class_="lanes")
    assert picture.attributes["role"] == "img"
    for id_ in picture.attributes["aria-labelledby"].split():
        assert root.one(id=id_).text
    assert all(it.attributes.get("aria-hidden") == "true" for it in root.all("svg", class_="sign"))


def test_no_part_of_it_says_by_colour_alone() -> None:
    style = (Path(document.__file__).parent / "page.css").read_text()
    for where in (".severity", ".matrix td"):
        frames = [
            re.search(rf"{re.escape(where)}\.{severity} \{{[^}}]*border: ([^;]*)", style)
            for severity in SEVERITIES[:3]
        ]
        kinds = [it.group(1).split()[1] for it in frames if it]
        assert kinds == ["solid", "dashed", "dotted"]


def test_its_policy_lets_run_what_is_ours_alone(night: Story) -> None:
    root = tree(night).root
    policy = root.one("meta", http_equiv="Content-Security-Policy").attributes["content"]
    for name in ("style", "script"):
        digest = b64encode(sha256(root.one(name).text.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert not [it for it in root.all() if it.attributes.keys() & {"style", "src", "onclick"}]


def test_incidents_of_the_very_same_pairs_are_said_to_be(tmp_path: Path) -> None:
    process = scene.Process(tmp_path)
    ann, bob, eve = map(scene.person, ("ann", "bob", "eve"))
    for place in ("chat.hub:Hub.start:1", "chat.hub:Hub.end:2"):
        process.leak(1, ann, bob, ws_audit__site=place)
        process.leak(2, eve, bob, ws_audit__site=place)
    process.leak(3, ann, bob, ws_audit__site="chat.other:send:3")
    process.leak(4, ann, bob, rule="shared_instance", severity="hygiene")
    process.leak(5, ann, bob, rule="shared_state", severity="hygiene")
    rows = tree(told(tmp_path)).root.one("section", id="incidents").all("tr")[1:]
    said = [it.text.partition("the same pairs as ")[2][:1] for it in rows]
    # The one seen last is first, and has fewer; in the last two nothing went astray.
    assert said == ["", "", "2", "", ""]
    assert all(words.RULES["payload_vs_connection"] in it.text for it in rows[:3])


def test_statements_are_written_out_once(tmp_path: Path) -> None:
    process = scene.Process(tmp_path)
    ann, bob = scene.person("ann"), scene.person("bob")
    process.leak(1, ann, bob, kinds=("payload",))
    process.leak(2, ann, bob, kinds=("payload", "argument"))
    process.leak(3, ann, bob, kinds=("payload", "argument"))
    first, worst, last = tree(told(tmp_path)).root.all("div", class_="proof")
    assert [len(it.all("table", class_="statements")) for it in (first, worst, last)] == [1, 1, 0]
    assert "By the same 3 statements as the one above." in last.text
    assert "2 statements from 2 different places name the same other person" in last.text


def test_a_place_breaks_after_its_joints_and_is_one_text(tmp_path: Path) -> None:
    scene.Process(tmp_path).leak(1, scene.person("ann"), scene.person("bob"))
    text = document.render(told(tmp_path))
    assert "<bdi>chat.<wbr>hub:<wbr>Hub.<wbr>push:<wbr>42</bdi>" in text
    assert "chat.hub:Hub.push:42" in tree(told(tmp_path)).root.one("section", id="incidents").text


# --- text that is no markup -------------------------------------------------------------------


def test_whatever_texts_say_the_page_has_the_same_shape(tmp_path: Path) -> None:
    hostile_scene(tmp_path / "hostile")
    hostile_scene(tmp_path / "harmless", "name")
    hostile, harmless = (
        tree(told(tmp_path / "hostile", HOSTILE)),
        tree(told(tmp_path / "harmless", "name")),
    )
    assert hostile.shape == harmless.shape
    assert MARKUP in hostile.root.text
    text = document.render(told(tmp_path / "hostile", HOSTILE))
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x09\x0b-\x1f\ud800-\udfff]", text)


def test_markup_is_made_in_one_place() -> None:
    package = Path(document.__file__).parent
    for path in package.glob("*.py"):
        calls = [
            node.lineno
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Html"
        ]
        assert bool(calls) is (path.name == "markup.py"), path.name


# --- the command ------------------------------------------------------------------------------


def run(*arguments: str) -> int:
    return cli.main(["review", "--now", "2026-11-23T10:25:30Z", *arguments])


def test_the_command_writes_it_and_says_the_same_as_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.night(tmp_path / "store")
    before = sorted(it.name for it in (tmp_path / "store").iterdir())
    page = tmp_path / "page.html"
    for form in ("text", "json"):
        assert run(str(tmp_path / "store"), "--format", form) == 1
        without = capsys.readouterr().out
        assert run(str(tmp_path / "store"), "--format", form, "--html", str(page)) == 1
        assert capsys.readouterr().out == without
    assert page.read_text().startswith("<!doctype html>")
    assert page.stat().st_mode & 0o777 == 0o600
    assert sorted(it.name for it in (tmp_path / "store").iterdir()) == before
    assert sorted(it.name for it in tmp_path.iterdir()) == ["page.html", "store"]


def test_a_file_that_cannot_be_written_is_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.night(tmp_path / "store")
    assert run(str(tmp_path / "store"), "--html", str(tmp_path / "none" / "page.html")) == 2
    assert "--html" in (told_ := capsys.readouterr()).err
    assert "No such file or directory" in told_.err
    assert told_.out == ""


def test_a_page_that_fails_leaves_the_one_before(
    night: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.html"
    page.write_text("the one before")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        document.write(night, page)
    assert [(it.name, it.read_text()) for it in tmp_path.iterdir()] == [
        ("page.html", "the one before")
    ]


def test_style_and_script_are_in_the_package() -> None:
    here = Path(ws_audit.__file__).parent / "review" / "telling" / "page"
    assert {"page.css", "page.js"} <= {it.name for it in here.iterdir()}
