# SPDX-License-Identifier: Apache-2.0
"""Environment and TOML file, read once into one frozen `Settings`.

Why it exists: every key has one place that says its name, its default, what it accepts and what
is said when it gets something else. A setting with a typo must never be a setting that silently
does nothing: with an auditor that means believing in a check that is not made.

It must never raise for what a user wrote (the application runs with defaults, the command line
prints the problems and exits 2), never show the hash key or a webhook's URL, and never import
more than the few standard library modules below: it is loaded inside the application, right
after its first module, before for example gevent may have patched ssl, socket and threading.
`tests/unit/test_settings.py` lists what a fresh interpreter has loaded.
"""

# pathlib is too much to load this early.

from __future__ import annotations

import fnmatch
import functools
import os
import re
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from ws_audit.schema import BLOCKABLE

from . import canary_tokens, manager_tables, policy_tables
from . import setting_kinds as kinds
from .wording import SECRET, bad, nearest, plain, unknown, unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .manager_tables import ManagerTable
    from .policy_tables import PolicyTable
    from .setting_kinds import Address


class Settings(NamedTuple):
    """What the agent was told. A key of the file is a field here, its dots underscores.

    Paths are absolute after `load`. An empty tuple means "not given": for `include`,
    application code and no installed library; for `identity_*` and `payload_*`, the built-in
    defaults of naming.py, which a given list replaces.
    """

    mode: str = "observe"
    block: tuple[str, ...] = ()  # rules that refuse in mode block; empty: all that may
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    trace_dir: str = ""  # empty: no store
    metrics_addr: Address | None = None  # None: the default registry, no endpoint of ours
    control_file: str = ""  # `load` makes it "control" in trace_dir, if there is one
    report: str = ""  # where each process leaves its facts as well; only from the environment
    hash_key: str = ""  # empty: unset; only from the environment, files get committed

    store_segment_bytes: int = 16_777_216
    store_max_bytes: int = 1_073_741_824
    store_max_age_days: int = 30
    store_neighbours: int = 200
    store_events: str = "violations"  # or "all": every send and delivery as well

    limits_connections: int = 100_000
    limits_resources: int = 100_000
    limits_payload_bytes: int = 1_048_576
    limits_cpu_share: float = 0.05  # 1: no circuit breaker

    canary_tokens_file: str = ""  # its tokens are secrets and stay in it: read where needed

    selftest_interval_seconds: int = 0  # 0: off

    inventory_canonical: tuple[str, ...] = ()  # "module:qualname" of the managers that may be

    push_log: bool = True
    push_webhook: str = ""

    identity_connection: tuple[str, ...] = ()
    identity_tenant: tuple[str, ...] = ()
    identity_accessor: str = ""  # "module:function", as identity_aliases
    identity_aliases: str = ""

    payload_owner: tuple[str, ...] = ()
    payload_actor: tuple[str, ...] = ()
    payload_mention: tuple[str, ...] = ()
    payload_event: tuple[str, ...] = ()
    payload_resources: tuple[str, ...] = ()
    payload_events: tuple[str, ...] = ()

    manager: tuple[ManagerTable, ...] = ()
    policy: tuple[PolicyTable, ...] = ()

    def takes(self, module_name: str, installed: bool) -> bool:
        """Whether classes of this module are candidates; `installed`: it is in site-packages.

        Our own modules count as installed wherever they lie, or an editable install of the
        agent would audit itself.
        """
        if self.exclude and _matcher(self.exclude)(module_name):
            return False
        if self.include:
            return _matcher(self.include)(module_name) is not None
        return not installed and module_name.partition(".")[0] != "ws_audit"

    def __repr__(self) -> str:
        """Without the two values that are secrets: settings end up in logs and bug reports."""
        secret = ("hash_key", "push_webhook")
        shown = (
            f"{name}={'<hidden>' if name in secret and value else repr(value)}"
            for name, value in zip(self._fields, self, strict=True)
        )
        return f"Settings({', '.join(shown)})"


def enabled(environ: Mapping[str, str]) -> bool:
    """Whether WS_AUDIT_ENABLED asks for the agent."""
    return environ.get("WS_AUDIT_ENABLED", "").strip().lower() in _YES


def load(environ: Mapping[str, str], directory: str) -> tuple[Settings, list[str]]:
    """Read the settings as seen from a working directory.

    Returns them with the list of problems, each a text that names the key, the value, the
    place and what was expected. A key with a problem keeps its default.
    """
    settings, problems, _ = read(environ, directory)
    return settings, problems


def read(environ: Mapping[str, str], directory: str) -> tuple[Settings, list[str], dict[str, str]]:
    """What `load` returns, and for each key that was given where its value comes from."""
    problems: list[str] = []
    given = _from_file(environ, directory, problems) + _from_environment(environ, problems)

    # The environment comes second, so it wins; where it is wrong, the file's value is not what
    # was asked for either. A bad value in the file is reported even if it is overridden here.
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for key, value, source in given:
        kind = _KEYS[key]
        values.pop(key, None)
        origins.pop(key, None)
        try:
            values[key] = kind.check(value)
        except (TypeError, ValueError):
            problems.append(bad(key, value, source, kind.expected))
            continue
        origins[key] = source
        if key == "manager":
            values[key] = manager_tables.read(value, source, problems)
        elif key == "policy":
            values[key] = policy_tables.read(value, source, problems)

    settings = Settings(**{key.replace(".", "_"): value for key, value in values.items()})
    settings = _with_room(settings, given, problems)
    if settings.trace_dir and not settings.control_file:
        origins["control_file"] = "derived from trace_dir"
    return _with_tokens(_placed(settings, directory), origins, problems), problems, origins


# --- what each key accepts ---------------------------------------------------------------


class _Given(NamedTuple):
    """A value somebody wrote for a known key, and where."""

    key: str
    value: Any
    source: str


_KEYS: dict[str, kinds.Kind] = {
    "mode": kinds.Kind(kinds.mode, '"observe" or "block"'),
    "block": kinds.Kind(kinds.rules, f"a list of rules that may refuse: {', '.join(BLOCKABLE)}"),
    "include": kinds.GLOBS,
    "exclude": kinds.GLOBS,
    "trace_dir": kinds.PATH,
    "metrics_addr": kinds.Kind(
        kinds.address,
        "HOST:PORT or HOST:PORT-PORT, ports from 1 to 65535, an IPv6 host in brackets",
    ),
    "control_file": kinds.PATH,
    "report": kinds.PATH,
    "hash_key": kinds.Kind(kinds.text, "text in UTF-8"),
    "store.segment_bytes": kinds.whole(4096),  # a violation must fit into a segment
    "store.max_bytes": kinds.whole(4096),
    "store.max_age_days": kinds.whole(1, 36_500),
    "store.neighbours": kinds.whole(0, 100_000),
    "store.events": kinds.Kind(kinds.events, '"violations" or "all"'),
    "limits.connections": kinds.whole(1),
    "limits.resources": kinds.whole(2),  # what the server says, and what clients say
    "limits.payload_bytes": kinds.whole(1),
    "limits.cpu_share": kinds.Kind(kinds.share, "a number above 0, at most 1"),
    "selftest.interval_seconds": kinds.whole(0, 1800),  # the alert waits for an hour
    "canary.tokens_file": kinds.PATH,
    "inventory.canonical": kinds.CLASSES,
    "push.log": kinds.Kind(kinds.flag, "true or false"),
    "push.webhook": kinds.Kind(kinds.webhook, "a URL that begins with http:// or https://"),
    "identity.connection": kinds.SCOPE_PATHS,
    "identity.tenant": kinds.SCOPE_PATHS,
    "identity.accessor": kinds.CALLABLE,
    "identity.aliases": kinds.CALLABLE,
    "payload.owner": kinds.LIST_PATHS,
    "payload.actor": kinds.FIELD_PATHS,
    "payload.mention": kinds.LIST_PATHS,
    "payload.event": kinds.FIELD_PATHS,
    "payload.resources": kinds.FIELD_PATHS,
    "payload.events": kinds.EVENT_NAMES,
    "manager": kinds.Kind(kinds.tables, "tables, each begun with [[manager]]"),
    "policy": kinds.Kind(kinds.tables, "tables, each begun with [[policy]]"),
}

# Keys and whole tables of the contract that this version does not do. Whoever
# implements one moves its line into the table above.
_LATER = frozenset(
    {
        "limits.runs",
        "sequence",
    }
)

_VARIABLES = {
    "WS_AUDIT_MODE": "mode",
    "WS_AUDIT_INCLUDE": "include",
    "WS_AUDIT_EXCLUDE": "exclude",
    "WS_AUDIT_TRACE_DIR": "trace_dir",
    "WS_AUDIT_METRICS_ADDR": "metrics_addr",
    "WS_AUDIT_CONTROL": "control_file",
    "WS_AUDIT_REPORT": "report",
    "WS_AUDIT_HASH_KEY": "hash_key",
}
_ENABLED, _CONFIG = "WS_AUDIT_ENABLED", "WS_AUDIT_CONFIG"
_OUR_TESTS = "WS_AUDIT_TEST_"  # variables of the agent's own test suite

_ENVIRONMENT_ONLY = frozenset({"hash_key", "report"})  # files get committed, or used again
_LISTS = (
    kinds.GLOBS,
    kinds.CLASSES,
    kinds.SCOPE_PATHS,
    kinds.FIELD_PATHS,
    kinds.LIST_PATHS,
    kinds.EVENT_NAMES,
)
_TABLES = frozenset(key.partition(".")[0] for key in _KEYS if "." in key)
_YES = ("1", "true", "yes", "on")
_NO = ("", "0", "false", "no", "off")


# --- where values come from --------------------------------------------------------------


def _from_environment(environ: Mapping[str, str], problems: list[str]) -> list[_Given]:
    """Our variables. An empty one is unset, as with OTEL_*."""
    given: list[_Given] = []
    for name in sorted(environ):
        if not name.startswith("WS_AUDIT_") or name.startswith(_OUR_TESTS):
            continue
        text = environ[name]
        source = f"environment variable {name}"
        key = _VARIABLES.get(name)
        if key is None:
            if name == _ENABLED and text.strip().lower() not in _YES + _NO:
                expected = "1, true, yes, on, or 0, false, no, off"
                problems.append(bad(name, text.strip(), "the environment", expected))
            elif name not in (_ENABLED, _CONFIG):
                known = nearest(name, (*_VARIABLES, _ENABLED, _CONFIG))
                problems.append(f"unknown environment variable {plain(name)}; nearest: {known}")
        elif key in SECRET:
            if text:
                given.append(_Given(key, text, source))
        elif text.strip():
            value: str | list[str] = text.strip()
            if _KEYS[key] in _LISTS:
                value = [item for item in map(str.strip, text.split(",")) if item]
            given.append(_Given(key, value, source))
    return given


def _from_file(environ: Mapping[str, str], directory: str, problems: list[str]) -> list[_Given]:
    """The file's values: WS_AUDIT_CONFIG, else pyproject.toml of the directory."""
    named = environ.get(_CONFIG, "").strip()
    path = os.path.join(directory, named or "pyproject.toml")
    source = plain(path)
    try:
        document = _document(path)
    except FileNotFoundError:
        if named:
            problems.append(f"{source}: no such file ({_CONFIG})")
        return []
    except OSError as error:
        problems.append(f"{source}: cannot be read: {error.strerror}")
        return []
    except UnicodeDecodeError as error:
        problems.append(f"{source}: not valid TOML: not UTF-8 at byte {error.start}")
        return []
    except (ValueError, RecursionError) as error:
        # The parser's text ends with "(at line 3, column 7)".
        problems.append(f"{source}: not valid TOML: {plain(str(error))}")
        return []

    if not named:
        tools = document.get("tool")
        tools = tools if isinstance(tools, dict) else {}
        if "ws_audit" in tools:
            problems.append(f"unknown table [tool.ws_audit] in {source}; nearest: [tool.ws-audit]")
        source = f"{source} [tool.ws-audit]"
        document = tools.get("ws-audit", {})
        if not isinstance(document, dict):
            problems.append(bad("tool.ws-audit", document, source, "a table"))
            return []
    return _flat(document, source, problems)


def _document(path: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    with open(path, "rb") as file:
        return tomllib.load(file)


def _flat(document: dict[str, Any], source: str, problems: list[str]) -> list[_Given]:
    """Tables unfolded to dotted keys; what is unknown, or known but ahead of us, is reported."""
    given: list[_Given] = []

    def visit(key: str, value: Any) -> None:
        if key in _LATER:
            problems.append(unsupported(key, source))
        elif key in _ENVIRONMENT_ONLY:
            what = "a secret; " if key in SECRET else ""
            name = next(name for name, known in _VARIABLES.items() if known == key)
            problems.append(f"{key} in {source}: {what}expected {name} instead")
        elif key in _KEYS:
            given.append(_Given(key, value, source))
        elif key not in _TABLES:
            known = (_KEYS.keys() | _TABLES | _LATER) - _ENVIRONMENT_ONLY
            problems.append(unknown(key, source, known))
        elif not isinstance(value, dict):
            problems.append(bad(key, value, source, "a table"))
        else:
            for name, inner in value.items():
                visit(f"{key}.{name}", inner)

    for name, value in document.items():
        # A quoted "store.events" is no table: do not take its dot for one.
        visit(name if "." not in name else repr(name), value)
    return given


def _with_room(settings: Settings, given: list[_Given], problems: list[str]) -> Settings:
    """The store must hold a segment. If not, one of two keys is wrong: both keep the default."""
    if settings.store_max_bytes >= settings.store_segment_bytes:
        return settings
    for key, value, source in given:
        if key in ("store.max_bytes", "store.segment_bytes"):
            problems.append(bad(key, value, source, "store.segment_bytes to fit store.max_bytes"))
    return settings._replace(
        store_segment_bytes=Settings().store_segment_bytes,
        store_max_bytes=Settings().store_max_bytes,
    )


def _placed(settings: Settings, directory: str) -> Settings:
    """Paths made absolute, because applications change their directory; control file derived."""

    def absolute(path: str) -> str:
        return os.path.normpath(os.path.join(directory, path)) if path else ""

    trace_dir = absolute(settings.trace_dir)
    control = absolute(settings.control_file)
    if trace_dir and not control:
        control = os.path.join(trace_dir, "control")
    return settings._replace(
        trace_dir=trace_dir,
        control_file=control,
        report=absolute(settings.report),
        canary_tokens_file=absolute(settings.canary_tokens_file),
    )


def _with_tokens(settings: Settings, origins: Mapping[str, str], problems: list[str]) -> Settings:
    """A file of canary tokens that cannot be used is none."""
    path = settings.canary_tokens_file
    if path:
        key = "canary.tokens_file"
        try:
            canary_tokens.read(path)
        except OSError as error:
            expected = f"{canary_tokens.EXPECTED}; it cannot be read: {error.strerror}"
        except (ValueError, RecursionError):
            expected = canary_tokens.EXPECTED
        else:
            return settings
        problems.append(bad(key, path, origins[key], expected))
    return settings._replace(canary_tokens_file="")


@functools.lru_cache(maxsize=8)
def _matcher(globs: tuple[str, ...]) -> Callable[[str], re.Match[str] | None]:
    """One compiled pattern for all globs; `x.*` also takes `x`."""
    parents = [glob[:-2] for glob in globs if glob.endswith(".*")]
    return re.compile("|".join(map(fnmatch.translate, (*globs, *parents)))).fullmatch
