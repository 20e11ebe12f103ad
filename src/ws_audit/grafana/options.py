# SPDX-License-Identifier: Apache-2.0
"""What a user may choose: which data sources, which jobs, which folder.

Why it exists: these words end up inside JSON, YAML, PromQL and Grafana's own `$` expansion. One
that would break any of them is refused here, with the reason, and written nowhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Final

# Grafana's own rule for a uid.
_UID: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")
_FOLDER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,98}")
_PATH: Final = re.compile(r"/[A-Za-z0-9._/-]*")
# What Python's expressions have and Prometheus' (RE2) have not: looking around, back references.
_NOT_RE2: Final = re.compile(r"\(\?(<?[=!]|\(|>)|\\[1-9]|[*+?}]\+")

EVERY_JOB: Final = ".+"


class BadOptionError(ValueError):
    """An option that cannot be written: its text names option, value and what was expected."""


@dataclass(frozen=True)
class Options:
    """The defaults are what is committed under grafana/."""

    prometheus_uid: str = "ws-audit-prometheus"
    tempo_uid: str = "ws-audit-tempo"
    clickhouse_uid: str = "ws-audit-clickhouse"
    job: str = EVERY_JOB
    folder: str = "ws-audit"
    dashboards: str = "/etc/grafana/ws-audit/dashboards"  # where Grafana finds them

    def __post_init__(self) -> None:
        for each in ("prometheus_uid", "tempo_uid", "clickhouse_uid"):
            self._fits(each, _UID, "1 to 40 letters, digits, hyphens or underscores")
        uids = (self.prometheus_uid, self.tempo_uid, self.clickhouse_uid)
        if len(set(uids)) < len(uids):
            raise BadOptionError(f"{', '.join(uids)}: expected three different uids")
        self._fits("folder", _FOLDER, "letters, digits, spaces, dots, hyphens or underscores")
        self._fits("dashboards", _PATH, "an absolute path without spaces")
        self._check_job()

    def _fits(self, name: str, rule: re.Pattern[str], expected: str) -> None:
        value = getattr(self, name)
        if not rule.fullmatch(value):
            option = "--" + name.replace("_", "-")
            raise BadOptionError(f"{option} {value!r}: expected {expected}")

    def _check_job(self) -> None:
        try:
            re.compile(self.job)
        except re.error as error:
            raise BadOptionError(f"--job {self.job!r}: not a regular expression: {error}") from None
        if not self.job or not self.job.isprintable():
            raise BadOptionError(f"--job {self.job!r}: expected a regular expression, in one line")
        if "$" in self.job:
            raise BadOptionError(
                f"--job {self.job!r}: leave the $ out, Prometheus matches the whole name anyway"
            )
        if _NOT_RE2.search(self.job):
            raise BadOptionError(
                f"--job {self.job!r}: Prometheus knows no look-around, back reference,"
                " atomic group or possessive repetition"
            )

    @property
    def job_in_quotes(self) -> str:
        """The expression as it stands inside a PromQL string."""
        return self.job.replace("\\", "\\\\").replace('"', '\\"')


DEFAULTS: Final = {each.name: str(each.default) for each in fields(Options)}
