# SPDX-License-Identifier: Apache-2.0
"""The shape of the package: who may import whom, where the application is called, the names.

The arrows are those of the design's second section. Imports are read from the syntax tree,
also those inside functions; what stands under TYPE_CHECKING is never imported.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.requirements import CONTRACT
from ws_audit import naming, schema

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "src" / "ws_audit"
PUBLISHED = REPOSITORY.parent / "shared" / "contract"

# --- who may import whom ----------------------------------------------------------------------

# Open to all, and importing nothing of ours but each other's like.
WORDS = frozenset(
    {"model", "schema", "naming", "settings", "wording", "manager_tables", "policy_tables"}
    | {"canary_tokens", "phrases", "setting_kinds"}
)

# Folders of single modules, each a room of its own below; what each may import of the others.
# Of a folder that is not here, all modules together are one room.
FOLDERS: dict[str, frozenset[str]] = {
    folder: frozenset(others.split())
    for folder, others in {
        "configuration": "",
        "classes": "configuration",
        "principals": "configuration",
        "messages": "configuration principals",
        "evidence": "configuration principals messages",
        "verdict": "configuration principals messages evidence",
        "process": "configuration",
    }.items()
}

# Room -> the rooms it may import besides WORDS and itself.
MAY: dict[str, frozenset[str]] = {
    room: frozenset(others.split())
    for room, others in {
        # the words
        "model": "",
        "schema": "",
        "naming": "",
        "phrases": "",
        "settings": "",
        "setting_kinds": "",
        "wording": "",
        "manager_tables": "",
        "policy_tables": "",
        "canary_tokens": "",
        # what is known of people, messages, classes and places
        "identity": "",
        "bindings": "identity payloads",
        "payloads": "identity",
        "signs": "",
        "refusals": "",
        "classify": "refusals signs",
        "declared": "classify signs",
        "factories": "classify signs",
        "discovery": "",
        "modules": "bootstrap",
        "proof": "bootstrap",
        "labels": "",
        "sites": "",
        "tables": "identity",
        "likeness": "identity",
        "addresses": "identity",
        "contents": "identity likeness",
        "tally": "",
        "forks": "",
        "breaker": "",
        "allowance": "breaker",
        "control": "",
        "faults": "",
        "intents": "behalf contents sites tables tally",
        "behalf": "identity",
        "served": "identity tables",
        "resources": "identity served tables",
        "canaries": "identity",
        "people": "identity",
        "listeners": "",
        "witnesses": "behalf canaries identity resources",
        # what users' instances share
        "sharing": "classify identity signs tables",
        # what doctor reads
        "facts": "classify forks identity intents signs",
        # the verdict
        "judge": "identity",
        "policy": "identity",
        "addressing": "behalf identity intents payloads",
        "stored": "identity",
        "excuses": "addressing identity intents judge payloads policy tally",
        "outsiders": "excuses identity",
        "declarations": "addressing excuses hooks outsiders payloads policy tally",
        # hooks and transports push facts down to the sink; they alone touch the application
        "sink": "behalf bindings excuses identity intents judge labels payloads people tally"
        " witnesses",
        "hooks": "addresses classify excuses identity intents labels modules payloads signs sink"
        " sites tables tally",
        "transports": "addresses behalf hooks identity intents sink",
        # records go out
        "drain": "tally",
        "incidents": "",
        "book": "incidents",
        "journal": "incidents",
        "review": "book identity incidents journal judge policy stored",
        # `review` only for what other processes wrote: it is in the store
        "outputs": "allowance book forks identity incidents intents journal review stored tally",
        "inventory": "classify forks hooks identity labels modules people signs tables tally",
        # source code, never imported
        "scan": "classify signs",
        # what is made for Prometheus, Alertmanager and Grafana, of names alone
        "grafana": "",
        "selftest": "bindings canaries classify forks hooks identity intents labels payloads sink"
        " tables tally transports witnesses",
        # what joins them, and what begins it
        "runtime": "bindings breaker canaries classify declarations discovery drain facts factories"
        " faults forks hooks identity intents inventory labels modules outputs payloads resources"
        " selftest served sharing sink sites tables tally transports witnesses",
        "agent": "bootstrap classify control declared discovery facts factories forks modules proof"
        " runtime signs transports",
        "bootstrap": "agent witness",
        "witness": "",
        "__init__": "agent",
        "instrumentor": "__init__",  # the public calls, under the names OpenTelemetry calls
        # on top; nothing may import it but `python -m ws_audit`
        "tools": "book incidents journal outputs review agent bootstrap runtime classify declared"
        " factories facts grafana identity inventory judge hooks modules scan selftest signs tally"
        " transports",
        "__main__": "tools",
    }.items()
}

# What is inside `review`, and what each part may import of the others.
REVIEW: dict[str, frozenset[str]] = {
    part: frozenset(others.split())
    for part, others in {
        "__init__": "",
        "selection": "",
        "segments": "selection",
        # four that know nothing of each other
        "databases": "segments selection",
        "rejudging": "segments selection",
        "telling": "segments selection",
        "custody": "segments selection",
        "source": "databases segments selection",
    }.items()
}

# Reachable by no way at all, however long.
NEVER = {
    "model": set(MAY) - {"model"},
    "review": {"hooks", "drain", "outputs", "sink", "intents", "runtime", "agent", "transports"},
    "scan": {"hooks", "agent", "runtime", "transports", "sink", "drain", "outputs", "review"},
    "judge": {"hooks", "transports", "drain", "outputs", "sink", "intents", "payloads"},
    "identity": set(MAY) - {"identity"} - WORDS,
}

FRAMEWORKS = naming.REALTIME_MODULES | {"uvicorn", "django", "flask", "pydantic", "werkzeug"}


class Module:
    """One source file: its dotted name, room and syntax tree."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        self.folder = self.name.partition(".")[0]
        self.room = _room(f"ws_audit.{self.name}")
        self.text = path.read_text(encoding="utf-8")
        self.tree = ast.parse(self.text)
        package = ("ws_audit", *path.relative_to(PACKAGE).parts[:-1])
        self.imports = set(_imports(self.tree, package))

    @property
    def ours(self) -> set[str]:
        """The rooms of ours it imports, its own left out."""
        rooms = {_room(name) for name in self.imports if name.partition(".")[0] == "ws_audit"}
        return {room if room in MAY else "__init__" for room in rooms} - {self.room}

    @property
    def folders(self) -> set[str]:
        """The folders of single modules it imports from, its own left out."""
        parts = [name.split(".") for name in self.imports]
        found = {part[1] for part in parts if part[0] == "ws_audit" and len(part) > 1}
        return (found & FOLDERS.keys()) - {self.folder}

    @property
    def foreign(self) -> set[str]:
        """The top-level packages it imports."""
        return {name.partition(".")[0] for name in self.imports} - {"ws_audit"}


def _room(name: str) -> str:
    """The room of a dotted name that begins with `ws_audit`."""
    _, *parts = name.split(".")
    if not parts:
        return "__init__"
    return parts[1] if parts[0] in FOLDERS and len(parts) > 1 else parts[0]


def _imports(node: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from _imports(other, package)
        elif isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = package[: len(package) - child.level + 1] if child.level else ()
            module = ".".join((*base, *([child.module] if child.module else [])))
            # `from ws_audit import schema` names a module, `from .model import Call` does not.
            names = [f"{module}.{alias.name}" for alias in child.names]
            whole = {"ws_audit", *(f"ws_audit.{folder}" for folder in (*FOLDERS, "review"))}
            yield from names if module in whole else [module]
        else:
            yield from _imports(child, package)


MODULES = [Module(path) for path in sorted(PACKAGE.rglob("*.py"))]
each_module = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)


def test_the_reader_of_imports_sees_them_all() -> None:
    """What the arrows are checked with: relative, absolute, inside functions, not for types."""
    source = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from .hooks import guard
import wrapt.patches
from . import naming
from .model import Call
def late():
    from ws_audit.outputs import store
    from ws_audit.verdict import judge
    import ws_audit.agent
"""
    assert set(_imports(ast.parse(source), ("ws_audit",))) == {
        "typing",
        "wrapt.patches",
        "ws_audit.naming",
        "ws_audit.model",
        "ws_audit.outputs",
        "ws_audit.verdict.judge",
        "ws_audit.agent",
    }
    assert set(_imports(ast.parse("from ..sink import Sink"), ("ws_audit", "hooks"))) == {
        "ws_audit.sink"
    }


@each_module
def test_its_folder_imports_only_what_it_may(module: Module) -> None:
    if module.folder in FOLDERS:
        assert module.folders <= FOLDERS[module.folder]


@each_module
def test_a_part_of_the_review_imports_only_what_it_may(module: Module) -> None:
    room, _, rest = module.name.partition(".")
    if room == "review":
        part = rest.partition(".")[0] or "__init__"
        names = [name.split(".") for name in module.imports]
        parts = {name[2] for name in names if name[:2] == ["ws_audit", "review"] and name[2:]}
        assert parts - {part} <= REVIEW[part]


@each_module
def test_it_imports_only_what_it_may(module: Module) -> None:
    if module.name in FOLDERS or module.name.removesuffix(".__init__") in FOLDERS:
        assert not module.imports  # the folder itself: a sentence
        return
    assert module.room in MAY, f"a new room: say in MAY what {module.room} may import"
    allowed = MAY[module.room] | (set() if module.room == "model" else WORDS)
    if "ws_audit.__version__" in module.imports:
        allowed |= {"__init__"}
    assert module.ours <= allowed


def test_no_way_leads_there() -> None:
    graph: dict[str, set[str]] = {}
    for module in MODULES:
        graph.setdefault(module.room, set()).update(module.ours - {"__init__"})
    for room, never in NEVER.items():
        reached, ahead = set(), {room}
        while ahead:
            here = ahead.pop()
            reached.add(here)
            ahead |= graph.get(here, set()) - reached
        assert not (reached - {room}) & never, room


def test_nothing_imports_the_tools() -> None:
    importers = {module.name for module in MODULES if "tools" in module.ours}
    assert importers == {"__main__"}


def test_model_imports_nothing_of_ours() -> None:
    (model,) = (module for module in MODULES if module.name == "model")
    assert model.ours == set()
    assert model.foreign <= {"__future__", "typing"}


def test_only_hooks_use_wrapt() -> None:
    users = {module.room for module in MODULES if "wrapt" in module.foreign}
    assert users == {"hooks"}


def test_only_the_ways_out_use_opentelemetry_and_prometheus() -> None:
    for package in ("opentelemetry", "prometheus_client"):
        users = {module.room for module in MODULES if package in module.foreign}
        # The entry point is loaded by OpenTelemetry's own loader, and is one of its classes.
        assert users <= {"outputs", "tools", "instrumentor"}


@pytest.mark.parametrize("room", ["identity", "judge", "payloads", "intents", "sink", "bindings"])
def test_the_core_knows_no_framework(room: str) -> None:
    for module in MODULES:
        if module.room == room:
            assert not module.foreign & FRAMEWORKS
            names = {
                node.id if isinstance(node, ast.Name) else str(node.value)
                for node in ast.walk(module.tree)
                if isinstance(node, ast.Name)
                or (isinstance(node, ast.Constant) and not _is_docstring(node, module.tree))
            }
            assert not names & FRAMEWORKS


def _is_docstring(constant: ast.Constant, tree: ast.AST) -> bool:
    return any(isinstance(node, ast.Expr) and node.value is constant for node in ast.walk(tree))


def test_nothing_but_the_application_imports_a_web_framework() -> None:
    for module in MODULES:
        if module.room != "tools":
            assert not module.foreign & FRAMEWORKS, module.name


# --- where the application is called ----------------------------------------------------------

# What a function of the application is called where we hold one.
THEIRS = frozenset(
    {
        "function",
        "application",
        "wrapped",
        "original",
        "send",
        "receive",
        "coroutine",
        "callback",
        "step",  # of a generator
    }
)
# How a generator ends, or is ended, without anything being wrong.
ENDS = ("StopIteration", "StopAsyncIteration")
GUARD = "hooks.guard"


def _catches_everything(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or "BaseException" in ast.unparse(handler.type)


def _their_calls(node: ast.AST) -> list[ast.Call]:
    """Calls by a bare name that stands for a function of the application."""
    return [
        call
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in THEIRS
    ]


def guarded_calls(tree: ast.AST) -> list[int]:
    """Lines where an application's function is called inside a `try` of ours."""
    return sorted(
        call.lineno
        for attempt in ast.walk(tree)
        if isinstance(attempt, ast.Try)
        for statement in attempt.body
        for call in _their_calls(statement)
    )


def catch_alls(tree: ast.AST) -> list[int]:
    """Lines that catch what only the application may: bare `except`, `BaseException`."""
    caught = [
        handler.lineno
        for handler in ast.walk(tree)
        if isinstance(handler, ast.ExceptHandler) and _catches_everything(handler)
    ]
    suppressed = [
        call.lineno
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and "suppress" in ast.unparse(call.func)
        and "BaseException" in ast.unparse(call)
    ]
    return sorted(caught + suppressed)


@each_module
def test_only_the_guard_calls_the_application_between_its_own_steps(module: Module) -> None:
    if module.name == GUARD or module.room == "tools":
        return
    assert guarded_calls(module.tree) == []
    assert catch_alls(module.tree) == []


def test_the_guard_itself_has_the_shape_and_nothing_beside_it() -> None:
    (guard,) = (module for module in MODULES if module.name == GUARD)
    assert len(guarded_calls(guard.tree)) >= 4  # coroutines, functions, an ASGI application, send
    for attempt in ast.walk(guard.tree):
        if not isinstance(attempt, ast.Try) or not guarded_calls(attempt):
            continue
        # The call stands alone: nothing of ours can raise where it would be taken for theirs.
        (statement,) = attempt.body
        assert len(_their_calls(statement)) == 1
        if isinstance(statement, (ast.Assign, ast.Expr)):
            value = statement.value
            called = value.value if isinstance(value, ast.Await) else value
            assert called is _their_calls(statement)[0]
        assert attempt.orelse == []
        for handler in attempt.handlers:
            if handler.type is not None and ast.unparse(handler.type) in ENDS:
                assert isinstance(handler.body[-1], ast.Return)
                continue
            # Whatever they raise goes on: the last step is a bare `raise`.
            assert _catches_everything(handler)
            assert isinstance(handler.body[-1], ast.Raise)
            assert handler.body[-1].exc is None
    for node in ast.walk(guard.tree):
        if isinstance(node, ast.ExceptHandler) and node.type and not _catches_everything(node):
            if ast.unparse(node.type) in ENDS:
                continue
            # Our own steps, and what the settings name for us to call: an error, never a signal,
            # never raised further, save for the refusal of a delivery.
            assert ast.unparse(node.type) in ("Exception", "(Exception, CancelledError)")
            raised = [inner for inner in ast.walk(node) if isinstance(inner, ast.Raise)]
            assert raised == _refusals(node)


def _refusals(handler: ast.ExceptHandler) -> list[ast.stmt]:
    """The bare `raise` that stands alone under `if refused(fault):`, first in a handler."""
    first = handler.body[0]
    if isinstance(first, ast.If) and ast.unparse(first.test) == "refused(fault)":
        assert len(first.body) == 1
        assert ast.unparse(first.body[0]) == "raise"
        return first.body
    return []


def test_only_the_guard_calls_what_the_settings_name() -> None:
    callers = {
        module.name
        for module in MODULES
        for call in ast.walk(module.tree)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "declared"
    }
    assert callers == {GUARD}


BAD_SHAPES = {
    "awaited in a try": "async def w(send, m):\n try:\n  await send(m)\n except Exception: pass",
    "called in a try": "def w():\n try:\n  return function(1)\n finally: after()",
    "deep inside a try": "def w():\n try:\n  if x:\n   y = [original(a) for a in b]\n except E: 0",
}


@pytest.mark.parametrize("shape", BAD_SHAPES)
def test_the_finder_of_that_shape_finds_it(shape: str) -> None:
    assert guarded_calls(ast.parse(BAD_SHAPES[shape]))


@pytest.mark.parametrize(
    "source",
    [
        "try: f()\nexcept: pass",
        "try: f()\nexcept BaseException: pass",
        "try: f()\nexcept (ValueError, BaseException): raise",
        "with contextlib.suppress(BaseException): f()",
    ],
)
def test_the_finder_of_catch_alls_finds_them(source: str) -> None:
    assert catch_alls(ast.parse(source))


def test_it_finds_no_fault_with_honest_code() -> None:
    honest = "def f(function):\n try:\n  before()\n except Exception: pass\n return function()"
    assert guarded_calls(ast.parse(honest)) == catch_alls(ast.parse(honest)) == []


# --- every module -----------------------------------------------------------------------------


@each_module
def test_it_is_readable(module: Module) -> None:
    lines = module.text.splitlines()
    assert len(lines) <= 500
    if module.text.strip():
        assert lines[0] == "# SPDX-License-Identifier: Apache-2.0"
        docstring = ast.get_docstring(module.tree)
        assert docstring, "says what it is for"
        assert docstring.splitlines()[0].endswith((".", "?", ":")) or len(docstring) > 80


@each_module
def test_it_makes_no_asserts(module: Module) -> None:
    """`python -O` must not change what is checked."""
    if module.room == "tools":
        return
    assert not [node.lineno for node in ast.walk(module.tree) if isinstance(node, ast.Assert)]


# --- the contract -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def contract() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CONTRACT / "contract.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published contract is not beside us")
def test_the_copy_of_the_contract_is_the_published_one() -> None:
    names = {path.name for path in PUBLISHED.iterdir()}
    assert names == {path.name for path in CONTRACT.iterdir() if path.is_file()}
    for name in names:
        assert (CONTRACT / name).read_bytes() == (PUBLISHED / name).read_bytes(), name


def test_permitted_pairs_are_the_contracts(contract: dict[str, Any]) -> None:
    assert {rule: list(them) for rule, them in schema.PERMITTED.items()} == contract["permitted"]
    assert set(schema.EVENT_RULES) <= set(schema.PERMITTED)


CLOSED = {
    "verdict": schema.VERDICTS,
    "reason@ws_audit_unattributed_total": schema.REASONS,
    "policy": schema.POLICIES,
    "outcome@ws_audit_events_sent_total": schema.SENT_OUTCOMES,
    "stage@ws_audit_records_dropped_total": schema.DROP_STAGES,
    "state": schema.TARGET_STATES,
}


@pytest.mark.parametrize("label", CLOSED)
def test_closed_sets_are_the_contracts(contract: dict[str, Any], label: str) -> None:
    assert list(CLOSED[label]) == contract["closed_labels"][label]


def test_severities_and_transports_are_among_the_contracts(contract: dict[str, Any]) -> None:
    from ws_audit.model import SEVERITIES

    assert list(SEVERITIES) == contract["closed_labels"]["severity"]
    assert set(schema.TRANSPORTS) <= set(contract["closed_labels"]["transport"])
    assert contract["max_managers"] == schema.MAX_MANAGERS


def test_metrics_are_the_contracts(contract: dict[str, Any]) -> None:
    from prometheus_client import CollectorRegistry

    from tests.faults.harness import Agent
    from ws_audit.outputs.metrics import Metrics

    runtime = Agent().runtime
    metrics = Metrics(
        CollectorRegistry(),
        runtime.tally,
        lambda: None,
        lambda: 0,
        dict,
        dict,
        lambda key: ("", 0),
        lambda: 0,
        dict,
        "0",
        "observe",
    )
    assert metrics.own._collector_to_names
    for metric in metrics.own._collector_to_names:
        kind, labels = metric._type, list(metric._labelnames)  # type: ignore[attr-defined]
        name = metric._name + ("_total" if kind == "counter" else "")  # type: ignore[attr-defined]
        expected = contract["metrics"][name]
        assert kind == expected["type"]
        assert expected["labels"] in (["*"], labels)
        assert not set(labels) & set(contract["forbidden_labels"])
