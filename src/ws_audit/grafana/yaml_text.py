# SPDX-License-Identifier: Apache-2.0
"""YAML as people write it: in the order of the data, long texts as blocks.

Why it exists: the files are read and edited by the people who mount them.
"""

from __future__ import annotations

from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML has no types
    """Lists are indented under their key; nothing is abbreviated by an anchor."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:  # noqa: FBT002
        return super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> Any:
    clock = text[:1].isdigit() and ":" in text  # to some readers 17:00 is a number
    style = "|" if "\n" in text else "'" if clock else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def yaml_text(document: dict[str, Any], comment: str) -> str:
    """The document under its comment, each line of which begins with #."""
    body: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)
    head = "".join(f"# {line}".rstrip() + "\n" for line in comment.splitlines())
    return f"{head}\n{body}"
