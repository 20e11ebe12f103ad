# SPDX-License-Identifier: Apache-2.0
"""The whole page, and the file it becomes.

Why it exists: one file that opens anywhere, in ten years, without a network, and that a browser
is told to keep from talking to anybody.

It must never need anything but itself, and never leave half a file behind.
"""

from __future__ import annotations

import os
import tempfile
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from .appendix import appendix
from .banner import banner, index
from .cause import cause
from .evidence import evidence
from .markup import DOCTYPE, code, join, tag, verbatim
from .pairs import pairs
from .picture import timeline
from .unseen import unseen

if TYPE_CHECKING:
    from ws_audit.review.telling.story import Story

_HERE = "ws_audit.review.telling.page"


def render(story: Story) -> str:
    """Give the page as text."""
    style = files(_HERE).joinpath("page.css").read_text(encoding="utf-8")
    script = files(_HERE).joinpath("page.js").read_text(encoding="utf-8")
    sections = [
        ("Incidents", "incidents", index(story)),
        ("Who saw whose data", "pairs", pairs(story)),
        ("Timeline", "timeline", timeline(story)),
        ("Evidence", "evidence", evidence(story)),
        ("Where it comes from", "cause", cause(story)),
        ("What we could not see", "unseen", unseen(story)),
        ("Appendix", "appendix", appendix(story)),
    ]
    links = [
        tag("li", tag("a", name, href=f"#{id_}")) for name, id_, section in sections if section
    ]
    page = tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
            tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name_="color-scheme", content="light dark"),
            tag("meta", name_="referrer", content="no-referrer"),
            tag("meta", name_="robots", content="noindex, nofollow"),
            tag("title", "Who saw whose data: isolation review"),
            tag("link", rel="icon", href="data:,"),
            verbatim("style", style),
        ),
        tag(
            "body",
            tag("a", "Skip to the content", href="#main", class_="skip"),
            tag(
                "header",
                tag("h1", "Who saw whose data"),
                tag("p", "Isolation review of ", code(story.source), class_="dim"),
                tag(
                    "p",
                    tag("strong", "Not the whole: only "),
                    tag("bdi", story.only),
                    class_="only",
                )
                if story.only
                else None,
            ),
            tag("nav", tag("ul", *links), aria_label="Sections"),
            tag("main", banner(story), *[section for _, _, section in sections], id="main"),
            tag(
                "footer",
                tag(
                    "p",
                    "Contains pseudonymised personal data. Made by ws-audit review; needs no "
                    "network and contacts nobody.",
                ),
            ),
            verbatim("script", script),
        ),
        lang="en",
    )
    return join(DOCTYPE, page)


def _policy(style: str, script: str) -> str:
    """What the browser may do with this page: run these two texts, and nothing else."""
    return (
        f"default-src 'none'; style-src {_source(style)}; script-src {_source(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _source(content: str) -> str:
    return f"'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'"


def write(story: Story, path: str | os.PathLike[str]) -> None:
    """Write the page, all of it or nothing: who opens the file never sees half. Raises OSError.

    It is for its owner alone: hashes are personal data.
    """
    target = Path(path)
    text = render(story).encode("utf-8", "replace")
    # `w+b` with mode 0600, in the same directory, so that the last step is one rename.
    descriptor, draft = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(target)
    except OSError:
        Path(draft).unlink(missing_ok=True)
        raise
