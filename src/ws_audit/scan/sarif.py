# SPDX-License-Identifier: Apache-2.0
"""A scan as SARIF 2.1.0, which code reviews show beside the lines.

Why it exists: GitHub, GitLab and Azure read it, and match findings from run to run by our
fingerprints.

It must never say that a scan was complete that skipped files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from ws_audit import __version__

from .findings import RULES

if TYPE_CHECKING:
    from collections.abc import Collection

    from .findings import Finding
    from .survey import Survey

_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"


def document(
    found: Survey, fresh: Collection[Finding], *, baseline: bool, above: str = ""
) -> dict[str, Any]:
    """The scan as one run of a SARIF log; `above` leads from the checkout to what was scanned."""
    rules = list(RULES)
    results = []
    for one in found.findings:
        result: dict[str, Any] = {
            "ruleId": one.rule,
            "ruleIndex": rules.index(one.rule),
            "level": one.level,
            "message": {"text": one.message},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {
                            "uri": quote(above + one.path),
                            "uriBaseId": "%SRCROOT%",
                        },
                        "region": {"startLine": one.line},
                    }
                }
            ],
            "partialFingerprints": {"wsAudit/v1": one.fingerprint},
        }
        if baseline:
            result["baselineState"] = "new" if one in fresh else "unchanged"
        results.append(result)
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "ws-audit",
                        "version": __version__,
                        "rules": [
                            {
                                "id": rule,
                                "shortDescription": {"text": about},
                                "defaultConfiguration": {"level": level},
                            }
                            for rule, (level, about) in RULES.items()
                        ],
                    }
                },
                "invocations": [
                    {
                        "executionSuccessful": True,
                        "toolExecutionNotifications": [
                            {"level": "warning", "message": {"text": problem}}
                            for problem in found.problems
                        ],
                    }
                ],
                "columnKind": "unicodeCodePoints",
                "results": results,
                "properties": found.summary,
            }
        ],
    }
