# SPDX-License-Identifier: Apache-2.0
"""The page in a real Chromium: it asks nobody, runs nothing of theirs, and can be read by all."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.review.conftest import told
from tests.review.test_page import hostile_scene
from ws_audit.review.telling.page import document

if TYPE_CHECKING:
    from pathlib import Path

    from tests.review.browser import Browser
    from ws_audit.review.telling.story import Story

# Every text that shows: its contrast against what is behind it, as WCAG 2 counts it.
CONTRASTS = """
(() => {
  const channels = text => {
    const it = text.match(/[0-9.]+/g).map(Number);
    return it.length > 3 ? it : [...it, 1];
  };
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map(it => it / 255)
      .map(it => it <= 0.03928 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = element => {
    for (let it = element; it; it = it.parentElement) {
      const color = channels(getComputedStyle(it).backgroundColor);
      if (color[3] === 1) return color;
    }
    return [255, 255, 255, 1];
  };
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    const unseen = element.closest("script, title, desc, [hidden]");
    if (unseen || !texts.currentNode.data.trim()) continue;
    const style = getComputedStyle(element);
    const color = channels(element.closest("svg") ? style.fill : style.color);
    const [one, other] = [light(color), light(behind(element))].sort((a, b) => b - a);
    found.push([(one + 0.05) / (other + 0.05), texts.currentNode.data.slice(0, 40)]);
  }
  return found.sort((a, b) => a[0] - b[0]);
})()
"""


def written(story: Story, path: Path, *, guarded: bool = True) -> Path:
    document.write(story, path)
    if not guarded:  # what escaping alone is worth
        text, policies = re.subn(r'<meta http-equiv="[^>]*>', "", path.read_text())
        assert policies == 1
        path.write_text(text)
    return path


def test_it_asks_nobody_and_has_nothing_to_complain_of(
    night: Story, browser: Browser, tmp_path: Path
) -> None:
    page = written(night, tmp_path / "page.html")
    tab = browser.open(page)
    assert [it for it in tab.requests if not it.startswith("data:")] == [page.as_uri()]
    assert tab.said == []

    # And it could not: whatever a script or style would ask for, the policy forbids.
    kinds = {
        "fetch": "fetch('https://example.com/').catch(() => 0)",
        "image": "document.body.append(Object.assign(new Image(), {src: 'https://example.com/a'}))",
        "frame": "document.body.append(Object.assign(document.createElement('iframe'),"
        " {src: 'https://example.com/b'}))",
        "beacon": "navigator.sendBeacon('https://example.com/c')",
    }
    for ask in kinds.values():
        tab.evaluate(f"(async () => {{ await ({ask}); }})()")
    blocked = tab.evaluate("new Promise(it => setTimeout(() => it(1), 300))")
    assert blocked == 1
    assert sum("Content Security Policy" in it for it in tab.said) >= len(kinds)
    tab.close()


@pytest.mark.parametrize("guarded", [True, False], ids=["with its policy", "by escaping alone"])
def test_nothing_that_was_stored_is_run_or_asked_for(
    browser: Browser, tmp_path: Path, guarded: bool
) -> None:
    directory = tmp_path / "<script>run()<"
    hostile_scene(directory)
    story = told(directory)
    page = written(story, tmp_path / "page.html", guarded=guarded)
    tab = browser.open(page)
    assert tab.evaluate("typeof window.run + document.querySelectorAll('[onerror]').length") == (
        "undefined0"
    )
    assert tab.evaluate("document.scripts.length + document.images.length") == 1
    assert [it for it in tab.requests if not it.startswith("data:")] == [page.as_uri()]
    assert tab.said == []
    assert "</script><script>run()" in tab.evaluate("document.body.textContent")
    assert "\\u202e" in tab.evaluate("document.body.textContent")
    assert "\u202e" not in tab.evaluate("document.documentElement.outerHTML")
    tab.close()


def test_it_fits_a_phone(night: Story, browser: Browser, tmp_path: Path) -> None:
    hostile_scene(tmp_path / "long")
    for story in (night, told(tmp_path / "long")):
        page = written(story, tmp_path / "page.html")
        tab = browser.open(page, width=390, height=844, mobile=True)
        tab.evaluate("document.querySelectorAll('details').forEach(it => { it.open = true })")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        tab.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast(
    night: Story, browser: Browser, tmp_path: Path, scheme: str
) -> None:
    tab = browser.open(written(night, tmp_path / "page.html"), width=1280, height=900, mobile=False)
    tab.media(scheme=scheme)
    paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 23, 27)")
    contrasts = tab.evaluate(CONTRASTS)
    assert len(contrasts) > 500
    assert [it for it in contrasts if it[0] < 4.5] == []
    tab.close()


def test_it_prints_all_of_it_black_on_white(night: Story, browser: Browser, tmp_path: Path) -> None:
    tab = browser.open(written(night, tmp_path / "page.html"), script=False)
    tab.ask("Emulation.setScriptExecutionDisabled", value=False)
    cells = "[...document.querySelectorAll('details td')]"
    shown = f"{cells}.map(it => it.checkVisibility())"
    assert set(tab.evaluate(shown)) == {True, False}
    tab.media("print", "dark")
    assert set(tab.evaluate(shown)) == {True}
    assert tab.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    wide = "[...document.querySelectorAll('table')].filter(it => it.scrollWidth > innerWidth)"
    tab.ask(
        "Emulation.setDeviceMetricsOverride",
        width=690,
        height=1000,
        deviceScaleFactor=1,
        mobile=False,
    )  # what A4 leaves between the margins
    assert tab.evaluate(f"{wide}.map(it => it.caption.textContent)") == []
    tab.media()
    pdf = base64.b64decode(tab.ask("Page.printToPDF", preferCSSPageSize=True)["data"])
    assert pdf.startswith(b"%PDF")
    tab.close()


def test_without_script_everything_is_there_and_with_it_one_can_search(
    browser: Browser, tmp_path: Path
) -> None:
    from tests.review import scene

    scene.crowd(tmp_path / "crowd", pairs=300, violations=300)
    story = told(tmp_path / "crowd")
    page = written(story, tmp_path / "page.html")

    def shown(tab: Any) -> tuple[int, bool]:
        rows = tab.evaluate("document.querySelectorAll('tr[data-people]:not([hidden])').length")
        return rows, tab.evaluate("document.querySelector('.filter').hidden")

    plain = browser.open(page, script=False)
    plain.ask("Emulation.setScriptExecutionDisabled", value=False)
    assert shown(plain) == (300, True)
    plain.close()

    tab = browser.open(page)
    assert shown(tab) == (300, False)
    wanted = story.pairs[77].owner
    tab.evaluate(
        "(() => { const it = document.querySelector('.filter input');"
        f" it.value = '{wanted[:12]}'; it.dispatchEvent(new Event('input')); }})()"
    )
    among = sum(wanted in (it.owner, it.recipient) for it in story.pairs)
    assert shown(tab) == (among, False)
    assert tab.evaluate("document.querySelector('.filter output').textContent") == f"{among} found"
    assert tab.said == []
    tab.close()
