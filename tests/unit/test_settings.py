# SPDX-License-Identifier: Apache-2.0
"""Every key: its default, its two sources, its error text; and what reading them may import."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.requirements import CONTRACT
from ws_audit.configuration.manager_tables import ManagerTable
from ws_audit.configuration.policy_tables import PolicyTable
from ws_audit.configuration.setting_kinds import Address
from ws_audit.configuration.settings import (
    _KEYS,
    _LATER,
    _VARIABLES,
    Settings,
    enabled,
    load,
)
from ws_audit.configuration.wording import shown

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = CONTRACT / "ws-audit.example.toml"

TOKENS = Path(__file__).parent / "canary_tokens.json"

# key -> default, the value as TOML, what becomes of it.
KEYS: dict[str, tuple[object, str, object]] = {
    "mode": ("observe", '"block"', "block"),
    "block": ((), '["canary"]', ("canary",)),
    "include": ((), '["app.*", "lib"]', ("app.*", "lib")),
    "exclude": ((), '["app.tests.*"]', ("app.tests.*",)),
    "trace_dir": ("", '"/var/ws"', "/var/ws"),
    "metrics_addr": (None, '"127.0.0.1:9464"', Address("127.0.0.1", 9464, 9464)),
    "control_file": ("", '"/run/switch"', "/run/switch"),
    "store.segment_bytes": (16_777_216, "4096", 4096),
    "store.max_bytes": (1_073_741_824, "1_000_000_000", 1_000_000_000),
    "store.max_age_days": (30, "1", 1),
    "store.neighbours": (200, "0", 0),
    "store.events": ("violations", '"all"', "all"),
    "limits.connections": (100_000, "7", 7),
    "limits.resources": (100_000, "7", 7),
    "limits.payload_bytes": (1_048_576, "7", 7),
    "limits.cpu_share": (0.05, "1", 1.0),
    "selftest.interval_seconds": (0, "600", 600),
    "canary.tokens_file": ("", f"'{TOKENS}'", str(TOKENS)),
    "inventory.canonical": ((), '["app.ws.hub:Hub"]', ("app.ws.hub:Hub",)),
    "push.log": (True, "false", False),
    "push.webhook": ("", '"https://hook.example/x"', "https://hook.example/x"),
    "identity.connection": (
        (),
        '["scope.user.id", "dependency:current_user.id", "dependency:user"]',
        ("scope.user.id", "dependency:current_user.id", "dependency:user"),
    ),
    "identity.tenant": ((), '["scope.user.tenant_id"]', ("scope.user.tenant_id",)),
    "identity.accessor": ("", '"app.identity:who"', "app.identity:who"),
    "identity.aliases": ("", '"app:Users.aliases"', "app:Users.aliases"),
    "payload.owner": ((), '["user_id", "data.user_id"]', ("user_id", "data.user_id")),
    "payload.actor": ((), '["from"]', ("from",)),
    "payload.mention": (
        (),
        '["to", "mentions[]", "data.mentions[].user.id"]',
        ("to", "mentions[]", "data.mentions[].user.id"),
    ),
    "payload.event": ((), '["type"]', ("type",)),
    "payload.resources": ((), '["data.run_id"]', ("data.run_id",)),
    "payload.events": ((), '["agent started", "a.b"]', ("agent started", "a.b")),
    "manager": ((), '[{ class = "app.hub:Hub" }]', (ManagerTable(1, "app.hub", "Hub"),)),
    "policy": (
        (),
        '[{ kind = "system", principals = ["bot"], reason = "notices" }]',
        (PolicyTable(1, "system", "notices", users=("bot",)),),
    ),
}

ENVIRONMENT: dict[str, tuple[str, str, object]] = {
    "WS_AUDIT_MODE": ("mode", " block ", "block"),
    "WS_AUDIT_INCLUDE": ("include", "app.*, lib,", ("app.*", "lib")),
    "WS_AUDIT_EXCLUDE": ("exclude", "app.tests.*", ("app.tests.*",)),
    "WS_AUDIT_TRACE_DIR": ("trace_dir", "/var/ws", "/var/ws"),
    "WS_AUDIT_METRICS_ADDR": ("metrics_addr", "[::1]:9464-9471", Address("::1", 9464, 9471)),
    "WS_AUDIT_CONTROL": ("control_file", "/run/switch", "/run/switch"),
    "WS_AUDIT_REPORT": ("report", "/run/facts", "/run/facts"),
    "WS_AUDIT_HASH_KEY": ("hash_key", " k=1 ", " k=1 "),
}

WHOLE = "a whole number from 1 to 1000000000000000"
SIZE = "a whole number from 4096 to 1000000000000000"
GLOBS = 'a list of patterns of dotted module names, such as "app.*"'
SCOPE = 'a list of "scope.KEY" or "dependency:NAME", each with more names after dots'
LISTS = (
    'a list of dotted field paths, such as "data.user_id" or, of each in a list, "notes[].user_id"'
)
FIELDS = 'a list of dotted field paths, such as "data.user_id"'
INTERVAL = "a whole number from 0 to 1800"
CLASSES = 'a list of classes as "module:qualname", such as "app.realtime.hub:Hub"'
SHARE = "a number above 0, at most 1"
TABLES = "tables, each begun with [[manager]]"
MODES = '"observe" or "block"'
RULES = (
    "a list of rules that may refuse: canary, argument_vs_connection, payload_vs_connection,"
    " instance_vs_connection, resource_vs_connection"
)
CALLABLE = '"module:function"'
ADDRESS = "HOST:PORT or HOST:PORT-PORT, ports from 1 to 65535, an IPv6 host in brackets"

# key, the bad value as TOML, as it is shown, what was expected.
BAD = [
    ("mode", '"blok"', "'blok'", MODES),
    ("mode", "1", "1", MODES),
    ("block", '["payload"]', "['payload']", RULES),
    ("block", '["rebound_connection"]', "['rebound_connection']", RULES),
    ("block", '"canary"', "'canary'", RULES),
    ("include", '"app.*"', "'app.*'", GLOBS),
    ("include", '["app.*", 3]', "['app.*', 3]", GLOBS),
    ("exclude", '[""]', "['']", GLOBS),
    ("trace_dir", "3", "3", "a path"),
    ("trace_dir", '"a\\u0000"', "'a\\x00'", "a path"),
    ("control_file", "true", "true", "a path"),
    ("metrics_addr", "9464", "9464", ADDRESS),
    ("metrics_addr", '":9464"', "':9464'", ADDRESS),
    ("metrics_addr", '"localhost"', "'localhost'", ADDRESS),
    ("metrics_addr", '"localhost:0"', "'localhost:0'", ADDRESS),
    ("metrics_addr", '"localhost:65536"', "'localhost:65536'", ADDRESS),
    ("metrics_addr", '"localhost:9471-9464"', "'localhost:9471-9464'", ADDRESS),
    ("metrics_addr", '"::1:9464"', "'::1:9464'", ADDRESS),
    ("store.segment_bytes", "4095", "4095", SIZE),
    ("store.segment_bytes", "4096.0", "4096.0", SIZE),
    ("store.max_bytes", "true", "true", SIZE),
    ("store.max_age_days", "0", "0", "a whole number from 1 to 36500"),
    ("store.neighbours", "-1", "-1", "a whole number from 0 to 100000"),
    ("store.events", '"everything"', "'everything'", '"violations" or "all"'),
    ("store.events", "true", "true", '"violations" or "all"'),
    ("limits.connections", "0", "0", WHOLE),
    ("limits.connections", "true", "true", WHOLE),
    ("limits.connections", '"many"', "'many'", WHOLE),
    ("limits.resources", "1", "1", WHOLE.replace("1", "2", 1)),
    ("canary.tokens_file", "[]", "[]", "a path"),
    ("limits.payload_bytes", f"0x{'f' * 6000}", "a value too long to show", WHOLE),
    ("limits.cpu_share", "0", "0", SHARE),
    ("limits.cpu_share", "-0.1", "-0.1", SHARE),
    ("limits.cpu_share", "1.01", "1.01", SHARE),
    ("limits.cpu_share", "nan", "nan", SHARE),
    ("limits.cpu_share", "true", "true", SHARE),
    ("limits.cpu_share", '"5%"', "'5%'", SHARE),
    ("inventory.canonical", '["app.hub.Hub"]', "['app.hub.Hub']", CLASSES),
    ("inventory.canonical", '"app.hub:Hub"', "'app.hub:Hub'", CLASSES),
    ("push.log", "1", "1", "true or false"),
    (
        "push.webhook",
        '"hooks.example/TOKEN"',
        "<hidden>",
        "a URL that begins with http:// or https://",
    ),
    ("push.webhook", "3", "<hidden>", "a URL that begins with http:// or https://"),
    ("identity.connection", '["user.id"]', "['user.id']", SCOPE),
    ("identity.connection", '["scope"]', "['scope']", SCOPE),
    ("identity.tenant", '["dependency:"]', "['dependency:']", SCOPE),
    ("identity.accessor", '"app.identity.who"', "'app.identity.who'", CALLABLE),
    ("identity.aliases", "[1]", "[1]", CALLABLE),
    ("payload.actor", '["members[].id"]', "['members[].id']", FIELDS),
    ("payload.actor", '["a..b"]', "['a..b']", FIELDS),
    ("payload.owner", '["a[]b"]', "['a[]b']", LISTS),
    ("payload.mention", '["a[]b"]', "['a[]b']", LISTS),
    ("payload.mention", '["[]"]', "['[]']", LISTS),
    ("payload.resources", '["runs[].id"]', "['runs[].id']", FIELDS),
    ("payload.event", "{}", "{}", FIELDS),
    ("payload.events", '[" "]', "[' ']", "a list of event names"),
    ("manager", '{ class = "a:B" }', "{'class': 'a:B'}", TABLES),
    ("manager", '["a:B"]', "['a:B']", TABLES),
    ("policy", '{ kind = "room" }', "{'kind': 'room'}", TABLES.replace("manager", "policy")),
    ("store", "5", "5", "a table"),
    ("selftest", "600", "600", "a table"),
    ("selftest.interval_seconds", "-1", "-1", INTERVAL),
    ("selftest.interval_seconds", "1801", "1801", INTERVAL),
    ("selftest.interval_seconds", "0.5", "0.5", INTERVAL),
    ("selftest.interval_seconds", "true", "true", INTERVAL),
    ("store.max_bytes", "[" + "1, " * 40 + "]", f"[{'1, ' * 25}1...", SIZE),
]


def from_file(
    tmp_path: Path, text: str, environ: dict[str, str] | None = None
) -> tuple[Settings, list[str]]:
    """Load a configuration file of this text, in an otherwise empty directory."""
    file = tmp_path / "ws.toml"
    file.write_text(text)
    return load({"WS_AUDIT_CONFIG": str(file), **(environ or {})}, str(tmp_path))


def field(settings: Settings, key: str) -> object:
    return getattr(settings, key.replace(".", "_"))


def unsupported(what: str, place: object) -> str:
    return (
        f"{what} in {place}: known, but not supported by ws-audit 0.1.0; "
        "remove it: it would have no effect"
    )


# --- defaults and sources ----------------------------------------------------------------


def test_nothing_set_is_the_defaults(tmp_path: Path) -> None:
    assert load({}, str(tmp_path)) == (Settings(), [])


def test_every_key_is_covered_here() -> None:
    assert KEYS.keys() | {"hash_key", "report"} == _KEYS.keys()
    assert {name: key for name, (key, *_) in ENVIRONMENT.items()} == _VARIABLES
    assert {key.replace(".", "_") for key in _KEYS} == set(Settings._fields)
    assert {key for key, *_ in BAD} >= KEYS.keys()


@pytest.mark.parametrize("key", KEYS)
def test_default(key: str) -> None:
    assert field(Settings(), key) == KEYS[key][0]


@pytest.mark.parametrize("key", KEYS)
def test_from_file(key: str, tmp_path: Path) -> None:
    settings, problems = from_file(tmp_path, f"{key} = {KEYS[key][1]}")
    assert problems == []
    assert field(settings, key) == KEYS[key][2]


@pytest.mark.parametrize("key", KEYS)
def test_from_pyproject(key: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[tool.ws-audit]\n{key} = {KEYS[key][1]}")
    settings, problems = load({}, str(tmp_path))
    assert problems == []
    assert field(settings, key) == KEYS[key][2]


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_from_environment_over_file(name: str, tmp_path: Path) -> None:
    key, text, value = ENVIRONMENT[name]
    file = f"{key} = {KEYS[key][1]}" if key in KEYS else ""
    settings, problems = from_file(tmp_path, file, {name: text})
    assert problems == []
    assert field(settings, key) == value


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_an_empty_variable_is_unset(name: str, tmp_path: Path) -> None:
    key = ENVIRONMENT[name][0]
    if key not in KEYS:
        assert load({name: ""}, str(tmp_path)) == (Settings(), [])
        return
    settings, problems = from_file(tmp_path, f"{key} = {KEYS[key][1]}", {name: ""})
    assert problems == []
    assert field(settings, key) == KEYS[key][2]


def test_config_file_instead_of_pyproject(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.ws-audit]\ninclude = ['a']\nexclude = ['b']")
    settings, problems = from_file(tmp_path, "include = ['c']")
    assert problems == []
    assert (settings.include, settings.exclude) == (("c",), ())


def test_config_file_is_found_from_the_directory(tmp_path: Path) -> None:
    (tmp_path / "ws.toml").write_text("include = ['c']")
    assert load({"WS_AUDIT_CONFIG": "ws.toml"}, str(tmp_path))[0].include == ("c",)


@pytest.mark.parametrize("text", ["", "[project]\nname = 'x'", "tool = 3", "[tool.ruff]"])
def test_a_pyproject_without_us_is_fine(text: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    assert load({}, str(tmp_path)) == (Settings(), [])


def test_paths_are_absolute(tmp_path: Path) -> None:
    settings, _ = from_file(tmp_path, "trace_dir = './t'", {"WS_AUDIT_CONTROL": "../c"})
    assert settings.trace_dir == str(tmp_path / "t")
    assert settings.control_file == str(tmp_path.parent / "c")


def test_the_control_file_lies_in_the_trace_directory_unless_named(tmp_path: Path) -> None:
    assert load({}, str(tmp_path))[0].control_file == ""
    settings, _ = load({"WS_AUDIT_TRACE_DIR": "t"}, str(tmp_path))
    assert settings.control_file == str(tmp_path / "t" / "control")


def test_the_contracts_example_loads() -> None:
    settings, problems = load({"WS_AUDIT_CONFIG": str(EXAMPLE)}, "/srv")
    assert problems == [unsupported(what, EXAMPLE) for what in ("limits.runs", "sequence")]
    assert settings.include == ("app.*",)
    assert settings.trace_dir == "/srv/ws-audit"
    assert settings.control_file == "/srv/ws-audit/control"
    assert settings.metrics_addr == Address("127.0.0.1", 9464, 9471)
    assert settings.identity_tenant == ("scope.user.tenant_id",)
    assert settings.manager == (
        ManagerTable(
            *(1, "app.realtime.hub", "Hub"),
            kinds=(("attach", "bind"), ("push_to", "send")),
            recipient="member_id",
            payload="body",
            instance_user="ctx.user_id",
        ),
    )
    for key in KEYS:
        if key.startswith(("store.", "limits.", "push.", "inventory.")):
            assert field(settings, key) == KEYS[key][0], f"{key}: not the contract's default"


# --- what people are told ----------------------------------------------------------------


@pytest.mark.parametrize(("key", "text", "shown", "expected"), BAD)
def test_bad_value(key: str, text: str, shown: str, expected: str, tmp_path: Path) -> None:
    settings, problems = from_file(tmp_path, f"{key} = {text}")
    assert problems == [f"{key} = {shown} in {tmp_path}/ws.toml: expected {expected}"]
    assert settings == Settings()


def test_bad_value_of_a_variable_leaves_the_default_not_the_file(tmp_path: Path) -> None:
    environ = {"WS_AUDIT_METRICS_ADDR": "nine"}
    settings, problems = from_file(tmp_path, 'metrics_addr = "h:1"', environ)
    where = "environment variable WS_AUDIT_METRICS_ADDR"
    assert problems == [f"metrics_addr = 'nine' in {where}: expected {ADDRESS}"]
    assert settings.metrics_addr is None


def test_bad_value_in_the_file_is_told_even_if_overridden(tmp_path: Path) -> None:
    settings, problems = from_file(tmp_path, "trace_dir = 1", {"WS_AUDIT_TRACE_DIR": "/t"})
    assert problems == [f"trace_dir = 1 in {tmp_path}/ws.toml: expected a path"]
    assert settings.trace_dir == "/t"


@pytest.mark.parametrize("name", ["WS_AUDIT_TRACE_DIR", "WS_AUDIT_INCLUDE", "WS_AUDIT_HASH_KEY"])
def test_a_variable_that_is_not_utf8(name: str, tmp_path: Path) -> None:
    settings, problems = load({name: os.fsdecode(b"a\xff")}, str(tmp_path))
    assert settings == Settings()
    assert len(problems) == 1
    assert name in problems[0]
    problems[0].encode()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("store.max_bytes = 5000", ["max_bytes = 5000"]),
        ("store.segment_bytes = 2_000_000_000", ["segment_bytes = 2000000000"]),
        (
            "store.segment_bytes = 9000\nstore.max_bytes = 8000",
            ["segment_bytes = 9000", "max_bytes = 8000"],
        ),
    ],
)
def test_the_store_holds_a_segment(text: str, told: list[str], tmp_path: Path) -> None:
    settings, problems = from_file(tmp_path, text)
    expected = "expected store.segment_bytes to fit store.max_bytes"
    assert problems == [f"store.{one} in {tmp_path}/ws.toml: {expected}" for one in told]
    assert settings == Settings()


NO_TOKENS = (
    "a JSON file {user: token} of at most 1000 users; tokens of 12 to 200 letters, digits and"
    " ._~:-, none part of another"
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "{'bob': 'cnry_0123456789'}",
        '{"bob": 17}',
        '{"bob": "short"}',
        '{"bob": "cnry_0123456789 "}',
        '{"bob": "cnry_\\u00e40123456789"}',
        '{" ": "cnry_0123456789"}',
        '{"bob": "cnry_0123456789", "eve": "cnry_0123456789"}',
        '{"bob": "cnry_0123456789", "eve": "xcnry_0123456789x"}',
        json.dumps({f"u{n}": f"cnry_{n:012d}" for n in range(1001)}),
        '{"bob": ' + "[" * 100_000,
        '{"bob": "cnry_0123456789"}' + " " * 300_000,
    ],
    ids=lambda text: text[:40],
)
def test_a_file_of_tokens_that_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "tokens.json").write_text(text)
    settings, problems = from_file(tmp_path, 'canary.tokens_file = "tokens.json"')
    found = shown(f"{tmp_path}/tokens.json")
    assert problems == [f"canary.tokens_file = {found} in {tmp_path}/ws.toml: expected {NO_TOKENS}"]
    assert settings == Settings()


def test_a_file_of_tokens_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    _, problems = from_file(tmp_path, 'canary.tokens_file = "tokens.json"')
    assert len(problems) == 1
    assert problems[0].endswith(
        f"expected {NO_TOKENS}; it cannot be read: No such file or directory"
    )
    (tmp_path / "tokens.json").write_bytes(b'{"bob": "\xff"}')
    assert from_file(tmp_path, 'canary.tokens_file = "tokens.json"')[1][0].endswith(NO_TOKENS)


@pytest.mark.parametrize("what", sorted(_LATER))
@pytest.mark.parametrize("value", ['""', "[]", "{ x = 1 }", "0.5"])
def test_known_but_not_supported(what: str, value: str, tmp_path: Path) -> None:
    settings, problems = from_file(tmp_path, f"{what} = {value}")
    assert problems == [unsupported(what, tmp_path / "ws.toml")]
    assert settings == Settings()


def test_several_of_one_unsupported_table_are_told_once(tmp_path: Path) -> None:
    _, problems = from_file(tmp_path, '[[sequence]]\nname = "a"\n[[sequence]]\nname = "b"')
    assert problems == [unsupported("sequence", tmp_path / "ws.toml")]


def test_an_unknown_mode_of_the_environment_is_named(tmp_path: Path) -> None:
    settings, problems = from_file(tmp_path, 'mode = "block"', {"WS_AUDIT_MODE": "stop"})
    where = "environment variable WS_AUDIT_MODE"
    assert problems == [f"mode = 'stop' in {where}: expected {MODES}"]
    assert settings.mode == "observe"


@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        ("trace_dri = 'x'", "trace_dri", "trace_dir"),
        ("limits.conections = 1", "limits.conections", "limits.connections"),
        ("segment_bytes = 4096", "segment_bytes", "store.segment_bytes"),
        ("[stroe]\nmax_bytes = 1", "stroe", "store"),
        ("[[polcy]]", "polcy", "policy"),
        ("'store.max_bytes' = 5000", "'store.max_bytes'", "store.max_bytes"),
        ("\"tracé\\ndir\" = 'x'", "'trac\\xe9\\ndir'", "trace_dir"),
    ],
)
def test_unknown_key(text: str, key: str, nearest: str, tmp_path: Path) -> None:
    settings, problems = from_file(tmp_path, text)
    assert problems == [f"unknown key {key} in {tmp_path}/ws.toml; nearest: {nearest}"]
    assert settings == Settings()


def test_unknown_variable(tmp_path: Path) -> None:
    environ = {"WS_AUDIT_HASHKEY": "secret", "WS_AUDIT_TEST_REQUIRE_ALL": "1", "WS_OTHER": "1"}
    assert load(environ, str(tmp_path)) == (
        Settings(),
        ["unknown environment variable WS_AUDIT_HASHKEY; nearest: WS_AUDIT_HASH_KEY"],
    )


def test_pyproject_is_named_with_its_table(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.ws-audit]\nmode = 3\n[tool.ws_audit]\n")
    place = f"{tmp_path}/pyproject.toml"
    assert load({}, str(tmp_path))[1] == [
        f"unknown table [tool.ws_audit] in {place}; nearest: [tool.ws-audit]",
        f"mode = 3 in {place} [tool.ws-audit]: expected {MODES}",
    ]
    (tmp_path / "pyproject.toml").write_text("tool.ws-audit = 5")
    assert load({}, str(tmp_path))[1] == [
        f"tool.ws-audit = 5 in {place} [tool.ws-audit]: expected a table"
    ]


def test_a_secret_is_not_for_files(tmp_path: Path) -> None:
    settings, problems = from_file(tmp_path, "hash_key = 'hunter2'")
    where = f"{tmp_path}/ws.toml"
    assert problems == [f"hash_key in {where}: a secret; expected WS_AUDIT_HASH_KEY instead"]
    assert settings.hash_key == ""


def test_secrets_are_in_no_repr() -> None:
    settings = Settings(hash_key="hunter2", push_webhook="https://hook/hunter2")
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in f"{settings}"
    assert "hash_key=<hidden>" in repr(settings)
    assert "hash_key=''" in repr(Settings())


# --- files that cannot be read -----------------------------------------------------------


def test_missing_file(tmp_path: Path) -> None:
    file = tmp_path / "none.toml"
    assert load({"WS_AUDIT_CONFIG": str(file)}, str(tmp_path)) == (
        Settings(),
        [f"{file}: no such file (WS_AUDIT_CONFIG)"],
    )


def test_unreadable_file(tmp_path: Path) -> None:
    # A directory, because the tests may run as root, who may read everything.
    assert load({"WS_AUDIT_CONFIG": str(tmp_path)}, "/") == (
        Settings(),
        [f"{tmp_path}: cannot be read: Is a directory"],
    )


@pytest.mark.parametrize("name", ["ws.toml", "pyproject.toml"])
def test_syntax_error_names_the_line(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("include = []\nexclude = [\n!")
    environ = {} if name == "pyproject.toml" else {"WS_AUDIT_CONFIG": name}
    settings, problems = load(environ, str(tmp_path))
    assert settings == Settings()
    assert len(problems) == 1
    assert problems[0].startswith(f"{tmp_path}/{name}: not valid TOML: ")
    assert "(at line 3, column 1)" in problems[0]


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(b"a = '\xff'")
    place = f"{tmp_path}/pyproject.toml"
    assert load({}, str(tmp_path))[1] == [f"{place}: not valid TOML: not UTF-8 at byte 5"]


def test_nested_too_deeply(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("a = " + "[" * 50_000)
    _, problems = load({}, str(tmp_path))
    assert len(problems) == 1
    assert "not valid TOML" in problems[0]


ATOMS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


@given(
    environ=st.dictionaries(
        st.sampled_from([*_VARIABLES, "WS_AUDIT_CONFIG", "WS_AUDIT_ENABLED", "WS_AUDIT_X"]),
        st.text(st.characters(exclude_characters="\0")),
    )
)
def test_no_environment_raises(environ: dict[str, str]) -> None:
    settings, problems = load(environ, "/nowhere")
    assert isinstance(settings, Settings)
    for problem in problems:
        assert problem.isprintable()


@given(
    key=st.sampled_from(sorted(_KEYS.keys() - {"hash_key"})),
    value=st.recursive(ATOMS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)),
)
def test_no_value_raises(key: str, value: object) -> None:
    try:
        _KEYS[key].check(value)
    except (TypeError, ValueError):
        pass


# --- what the settings decide ------------------------------------------------------------


@pytest.mark.parametrize("text", ["1", "true", "yes", "on", "ON", " True\n"])
def test_enabled(text: str, tmp_path: Path) -> None:
    assert enabled({"WS_AUDIT_ENABLED": text})
    assert load({"WS_AUDIT_ENABLED": text}, str(tmp_path))[1] == []


@pytest.mark.parametrize("text", ["", "0", "false", "No", "off", " "])
def test_not_enabled(text: str, tmp_path: Path) -> None:
    assert not enabled({"WS_AUDIT_ENABLED": text})
    assert load({"WS_AUDIT_ENABLED": text}, str(tmp_path))[1] == []


def test_enabled_by_a_word_that_means_nothing(tmp_path: Path) -> None:
    assert not enabled({})
    assert not enabled({"WS_AUDIT_ENABLED": "ja"})
    expected = "expected 1, true, yes, on, or 0, false, no, off"
    assert load({"WS_AUDIT_ENABLED": "ja"}, str(tmp_path))[1] == [
        f"WS_AUDIT_ENABLED = 'ja' in the environment: {expected}"
    ]


@pytest.mark.parametrize(
    ("include", "exclude", "module", "installed", "taken"),
    [
        ("", "", "app.hub", False, True),
        ("", "", "__main__", False, True),
        ("", "", "fastapi", True, False),
        ("", "", "ws_audit.drain", False, False),
        ("", "", "ws_audit_helpers", False, True),
        ("", "app.tests.*", "app.tests", False, False),
        ("", "app.tests.*", "app.tests.deep.er", False, False),
        ("", "app.tests.*", "app.testsuite", False, True),
        ("app.*", "", "app", False, True),
        ("app.*", "", "app.hub", False, True),
        ("app.*", "", "application", False, False),
        ("app.*", "", "xapp.hub", False, False),
        ("app", "", "app.hub", False, False),
        ("app.*", "app.*", "app.hub", False, False),
        ("app.*, lib.ws*", "", "lib.wsgi.x", True, True),
        ("app.*, lib.ws*", "", "lib", True, False),
        ("*", "", "anything.at.all", True, True),
        ("App.*", "", "app.hub", False, False),
        ("ws_audit.examples.*", "", "ws_audit.examples.app", True, True),
        ("a?p.[hx]ub", "", "app.hub", False, True),
        ("[z-a]", "", "z", False, False),
    ],
)
def test_takes(include: str, exclude: str, module: str, installed: bool, taken: bool) -> None:
    settings, problems = load({"WS_AUDIT_INCLUDE": include, "WS_AUDIT_EXCLUDE": exclude}, "/")
    assert problems == []
    assert settings.takes(module, installed) is taken


# --- what reading them imports -----------------------------------------------------------

FORBIDDEN = (
    *("ssl", "socket", "threading", "asyncio", "inspect", "dataclasses", "pathlib", "logging"),
    *("wrapt", "opentelemetry", "prometheus_client", "msgspec", "subprocess", "signal", "select"),
)

# Whatever the standard library itself needs for the modules we may import is loaded first;
# beyond that there may be nothing but ourselves.
LIST_IMPORTED_MODULES = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
import os, re, fnmatch, functools, typing
if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli
before = set(sys.modules)
from ws_audit.configuration.settings import load
settings, problems = load({"WS_AUDIT_TRACE_DIR": "t"}, sys.argv[2])
assert settings.include == ("app.*",), problems
assert settings.takes("app", False)
assert len(problems) == 1, problems
print(json.dumps([sorted(set(sys.modules) - before), sorted(sys.modules)]))
"""


def tomli() -> Path | None:
    """Where the one dependency of `settings` lies, which only Python 3.10 needs."""
    spec = importlib.util.find_spec("tomli")
    return Path(spec.origin).parent if spec and spec.origin else None


TOMLI = tomli()


def interpreters() -> dict[str, str]:
    """This Python, and those of the other supported versions that are present and run."""
    found = {f"{sys.version_info[0]}.{sys.version_info[1]}": sys.executable}
    script = "import sys; print(sys.executable)"
    for version in ("3.10", "3.11", "3.12", "3.13"):
        command = shutil.which(f"python{version}")
        if version in found or command is None or (version == "3.10" and TOMLI is None):
            continue
        # pyenv's stand-ins run nothing but the version that is chosen by this variable.
        environ = {**os.environ, "PYENV_VERSION": version}
        run = subprocess.run(
            [command, "-I", "-c", script], env=environ, capture_output=True, text=True, check=False
        )
        if run.returncode == 0:
            found[version] = run.stdout.strip()
    return found


PYTHONS = interpreters()


OURS = (
    *("settings", "setting_kinds", "wording"),
    *("manager_tables", "policy_tables", "canary_tokens"),
)


# Not a skip for each absent version: a machine with one Python is complete, and CI has them all.
@pytest.mark.parametrize("version", PYTHONS)
def test_imports_nothing_that_changes_an_application(version: str, tmp_path: Path) -> None:
    python = PYTHONS[version]
    paths = [str(REPOSITORY / "src")]
    if version == "3.10":
        assert TOMLI is not None
        # Alone, so that nothing else of this environment can be found.
        shutil.copytree(TOMLI, tmp_path / "lib" / "tomli")
        paths.append(str(tmp_path / "lib"))
    (tmp_path / "pyproject.toml").write_text('tool.ws-audit = { include = ["app.*"], x = 1 }')

    command = [python, "-I", "-S", "-c", LIST_IMPORTED_MODULES, json.dumps(paths), str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    added, loaded = json.loads(run.stdout)
    ours = {f"ws_audit.configuration.{name}" for name in OURS}
    words = {"ws_audit", "ws_audit.schema", "ws_audit.configuration"}
    assert set(added) <= {"__future__", *words, *ours}
    assert not set(loaded) & set(FORBIDDEN)
