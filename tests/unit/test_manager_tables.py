# SPDX-License-Identifier: Apache-2.0
"""`[[manager]]` tables: what is accepted, what is told of a mistake, what they make of a class."""

from __future__ import annotations

import sys
import textwrap
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from ws_audit import agent as agents
from ws_audit.classes.classify import Refused, classify
from ws_audit.classes.declared import Declared
from ws_audit.configuration.manager_tables import KINDS, ManagerTable
from ws_audit.configuration.settings import Settings, load
from ws_audit.model import BIND, BROADCAST, CREATE, SEND, UNBIND

if TYPE_CHECKING:
    from pathlib import Path

    from ws_audit.classes.classify import Method, Target

# --- reading them --------------------------------------------------------------------------------


def read(tmp_path: Path, text: str) -> tuple[tuple[ManagerTable, ...], list[str]]:
    """The tables of a file, and what is told of it; the file's path shortened to `FILE`."""
    file = tmp_path / "ws.toml"
    file.write_text(textwrap.dedent(text))
    settings, problems = load({"WS_AUDIT_CONFIG": str(file)}, str(tmp_path))
    assert settings == Settings(manager=settings.manager)
    return settings.manager, [problem.replace(str(file), "FILE") for problem in problems]


def test_every_key_of_a_table(tmp_path: Path) -> None:
    lists = "\n".join(f'{kind} = ["{kind}_it"]' for kind in KINDS)
    tables, problems = read(
        tmp_path,
        f"""\
[[manager]]
class = "app.hub:Outer.Hub"
{lists}
recipient = "member_id"
payload = "body"
instance_user = "ctx.user.id"
ignore = false
[[manager]]
class = "lib:Manager"
ignore = true
""",
    )
    assert problems == []
    assert tables == (
        ManagerTable(
            *(1, "app.hub", "Outer.Hub", tuple((f"{kind}_it", kind) for kind in KINDS)),
            *("member_id", "body", "ctx.user.id", False),
        ),
        ManagerTable(2, "lib", "Manager", ignore=True),
    )


CLASS = '"module:qualname", such as "app.realtime.hub:Hub"'
METHODS = "a list of method names"
PARAMETER = "the name of a parameter"
PATH = 'an attribute path, such as "user_context.user_id"'
WRONG = [
    ("class", '"app.hub.Hub"', "'app.hub.Hub'", CLASS),
    ("class", '"app.hub:"', "'app.hub:'", CLASS),
    ("class", '":Hub"', "':Hub'", CLASS),
    ("class", '"app/hub:Hub"', "'app/hub:Hub'", CLASS),
    ("class", '"app:f.<locals>"', "'app:f.<locals>'", CLASS),
    ("class", '"app:<locals>.Hub"', "'app:<locals>.Hub'", CLASS),
    ("class", '"app:Hub\\n"', "'app:Hub\\n'", CLASS),
    ("class", '["app:Hub"]', "['app:Hub']", CLASS),
    ("send", '"push_to"', "'push_to'", METHODS),
    ("send", "[]", "[]", METHODS),
    ("bind", '["a b"]', "['a b']", METHODS),
    ("unbind", "[1]", "[1]", METHODS),
    ("factory", "true", "true", METHODS),
    ("recipient", '"data.member"', "'data.member'", PARAMETER),
    ("recipient", '""', "''", PARAMETER),
    ("payload", "1", "1", PARAMETER),
    ("instance_user", '"ctx."', "'ctx.'", PATH),
    ("instance_user", '"ctx.user()"', "'ctx.user()'", PATH),
    ("ignore", '"yes"', "'yes'", "true or false"),
    ("ignore", "1", "1", "true or false"),
]


@pytest.mark.parametrize(("key", "text", "shown", "expected"), WRONG)
def test_a_wrong_value_is_named_with_its_table(
    key: str, text: str, shown: str, expected: str, tmp_path: Path
) -> None:
    first = 'class = "app:Hub"\n' if key != "class" else ""
    tables, problems = read(
        tmp_path, f'[[manager]]\nclass = "app:First"\n[[manager]]\n{first}{key} = {text}'
    )
    assert problems == [f"{key} = {shown} in [[manager]] 2 of FILE: expected {expected}"]
    # The key alone is left out; without its class a table is none.
    others = () if key == "class" else (ManagerTable(2, "app", "Hub"),)
    assert tables == (ManagerTable(1, "app", "First"), *others)


def test_a_class_made_in_a_function_has_a_name_too(tmp_path: Path) -> None:
    tables, problems = read(tmp_path, '[[manager]]\nclass = "a:make.<locals>.Hub"')
    assert (tables, problems) == ((ManagerTable(1, "a", "make.<locals>.Hub"),), [])


def test_a_table_without_a_class(tmp_path: Path) -> None:
    told = f"no class in [[manager]] 1 of FILE: expected class = {CLASS}"
    assert read(tmp_path, '[[manager]]\nsend = ["push"]') == ((), [told])
    assert read(tmp_path, "[[manager]]") == ((), [told])


def test_an_unknown_key(tmp_path: Path) -> None:
    tables, problems = read(tmp_path, '[[manager]]\nclass = "a:B"\nrecepient = "x"')
    assert problems == ["unknown key recepient in [[manager]] 1 of FILE; nearest: recipient"]
    assert tables == (ManagerTable(1, "a", "B"),)


def test_ignore_stands_alone(tmp_path: Path) -> None:
    tables, problems = read(
        tmp_path, '[[manager]]\nclass = "a:B"\nignore = true\nsend = ["x"]\npayload = "y"'
    )
    assert tables == ()
    (told,) = problems
    assert told == (
        "ignore = true in [[manager]] 1 of FILE: leaves the class alone, so nothing else can stand"
        " beside it; found payload, send"
    )


def test_a_method_has_one_kind(tmp_path: Path) -> None:
    tables, problems = read(
        tmp_path, '[[manager]]\nclass = "a:B"\nbroadcast = ["x", "z"]\nsend = ["x", "y", "y"]'
    )
    (told,) = problems
    assert told == (
        "broadcast = ['x'] in [[manager]] 1 of FILE: send names it already;"
        " expected one kind for each method"
    )
    assert tables[0].kinds == (("x", "send"), ("y", "send"), ("z", "broadcast"))


def test_a_class_has_one_table(tmp_path: Path) -> None:
    tables, problems = read(
        tmp_path, '[[manager]]\nclass = "a:B"\n[[manager]]\nclass = "a:B"\nignore = true'
    )
    assert problems == ["class = 'a:B' in [[manager]] 2 of FILE: table 1 names it already"]
    assert tables == (ManagerTable(1, "a", "B"),)


def test_in_pyproject(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[[tool.ws-audit.manager]]\nclass = "a:B"\nsend = 1')
    settings, problems = load({}, str(tmp_path))
    assert settings.manager == (ManagerTable(1, "a", "B"),)
    place = f"[[manager]] 1 of {tmp_path}/pyproject.toml [tool.ws-audit]"
    assert problems == [f"send = 1 in {place}: expected {METHODS}"]


# --- what they make of a class -------------------------------------------------------------------

HUB = """
class Base:
    def inherited(self, member_id): ...

class Panel(Base):
    limit = 3

    def __init__(self, ctx): ...
    def hand_over(self, body, member_id, tag=None): ...
    def tell(self, member_ref, body): ...
    def send_note(self, user_id, text): ...
    def everybody(self, member_id, body): ...
    def enter(self, sock, member_id): ...
    def disconnect(self, ws): ...
    @property
    def size(self): ...
    @staticmethod
    def shout(member_id, body): ...

    class Inner:
        def hand_over(self, to, body): ...

Alias = Panel
"""


def module(source: str = HUB, name: str = "app.panel") -> ModuleType:
    made = ModuleType(name)
    exec(compile(source, f"{name}.py", "exec", dont_inherit=True), vars(made))
    return made


def declared(made: ModuleType, **table: Any) -> tuple[dict[str, Target | None], list[str]]:
    """What a table makes of a module's classes, and what is told; twice, for what is told once."""
    said: list[str] = []
    table = {"number": 2, "module": "app.panel", "qualname": "Panel", **table}
    tables = Declared([ManagerTable(**table)], said.append)
    for _ in range(2):
        found = {
            cls.__qualname__: tables.target(cls, one)
            for cls, one in tables.classes("app.panel", made)
        }
    return found, said


def one(**table: Any) -> dict[str, Method]:
    found, said = declared(module(), **table)
    assert said == []
    (target,) = found.values()
    assert target is not None
    return {method.name: method for method in target.methods}


def test_it_takes_what_the_rules_refuse_with_the_methods_it_names() -> None:
    made = module()
    assert isinstance(classify(made.Panel, realtime=False), Refused)
    found, said = declared(
        made, kinds=(("hand_over", "send"), ("enter", "bind")), instance_user="ctx.user_id"
    )
    target = found["Panel"]
    assert target is not None
    assert (target.module, target.qualname) == ("app.panel", "Panel")
    assert target.reason == "named in [[manager]] 2"
    assert target.instance_user == "ctx.user_id"
    assert {method.name: method.kind for method in target.methods} == {
        "__init__": CREATE,  # by the rules
        "send_note": SEND,
        "disconnect": UNBIND,
        "hand_over": SEND,
        "enter": BIND,
    }
    assert said == []


def test_it_overrides_a_rules_kind() -> None:
    assert one(kinds=(("send_note", "broadcast"),))["send_note"].kind == BROADCAST
    assert one(kinds=(("disconnect", "factory"),))["disconnect"].kind == "factory"


def test_recipient_and_payload_are_the_named_parameters() -> None:
    methods = one(
        kinds=(("hand_over", "send"), ("everybody", "broadcast"), ("enter", "bind")),
        recipient="member_id",
        payload="body",
    )
    meant = {name: method.parameters for name, method in methods.items()}
    assert (meant["hand_over"].recipient, meant["hand_over"].payload) == ("member_id", "body")
    assert (meant["enter"].recipient, meant["enter"].socket) == ("member_id", "sock")
    # Whom a broadcast names is its subject.
    assert (meant["everybody"].recipient, meant["everybody"].payload) == (None, "body")
    # Methods without these parameters keep what the rules say.
    assert (meant["send_note"].recipient, meant["send_note"].payload) == ("user_id", "text")


def test_a_recipient_no_rule_knows() -> None:
    kinds = (("tell", "send"), ("hand_over", "send"))
    assert one(kinds=kinds)["tell"].parameters.recipient is None
    meant = one(kinds=kinds, recipient="member_ref")["tell"].parameters
    assert (meant.recipient, meant.recipient_kind, meant.payload) == ("member_ref", "id", "body")
    # What is named is no candidate for the rest: not the last parameter, but the one beside it.
    meant = one(kinds=kinds, recipient="body")["tell"].parameters
    assert (meant.recipient, meant.payload) == ("body", "member_ref")
    meant = one(kinds=kinds, recipient="user_id", payload="tag")["hand_over"].parameters
    assert (meant.recipient, meant.payload) == ("member_id", "tag")


def test_the_kind_of_identifier_is_that_of_the_parameters_name() -> None:
    made = module("class Panel:\n    def tell(self, email, text): ...")
    found, _ = declared(made, kinds=(("tell", "send"),), recipient="email")
    assert found["Panel"] is not None
    assert found["Panel"].methods[0].parameters.recipient_kind == "email"


def test_a_static_method_has_its_own_parameters() -> None:
    meant = one(kinds=(("shout", "send"),), recipient="member_id")["shout"].parameters
    assert (meant.recipient, meant.payload) == ("member_id", "body")


def test_a_nested_class_and_an_alias() -> None:
    made = module()
    found, said = declared(made, qualname="Panel.Inner", kinds=(("hand_over", "send"),))
    assert (list(found), said) == (["Panel.Inner"], [])
    found, said = declared(made, qualname="Alias")
    assert (list(found), said) == (["Panel"], [])


def test_a_class_that_was_made_by_calling_type() -> None:
    made = module("Panel = type('Odd', (), {'tell': lambda self, user_id, text: None})")
    found, said = declared(made, kinds=(("tell", "send"),))
    assert found["Odd"] is not None
    assert said == []


def test_ignored_is_left_alone() -> None:
    assert declared(module(), ignore=True) == ({"Panel": None}, [])


THIS = "[[manager]] 2, app.panel:"
NEAREST = " nearest: text"
MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"qualname": "Pannel"}, "Pannel: app.panel has no such class; nearest: Panel"),
    ({"qualname": "Panel.Iner"}, "Panel.Iner: app.panel has no such class; nearest: Panel.Inner"),
    ({"qualname": "Panel.limit"}, "Panel.limit: app.panel has no such class; nearest: Panel.Inner"),
    (
        {"kinds": (("handover", "send"),)},
        "Panel: send = ['handover']: no such method; nearest: hand_over",
    ),
    (
        {"kinds": (("inherited", "bind"),)},
        "Panel: bind = ['inherited']: inherited from app.panel:Base; name that class instead",
    ),
    (
        {"kinds": (("size", "send"),)},
        "Panel: send = ['size']: it is no plain method but a property",
    ),
    ({"kinds": (("limit", "send"),)}, "Panel: send = ['limit']: it is no plain method but a int"),
    (
        {"payload": "texts"},
        "Panel: payload = 'texts': none of its hooked methods has such a parameter;" + NEAREST,
    ),
    (
        {"recipient": "texts"},
        "Panel: recipient = 'texts': none of its hooked methods has such a parameter;" + NEAREST,
    ),
    (
        {"qualname": "Base"},
        "Base: no rule finds a method in it; say which of its methods send",
    ),
]


@pytest.mark.parametrize(("table", "told"), MISTAKES)
def test_a_table_that_does_not_fit_is_told_once(table: dict[str, Any], told: str) -> None:
    assert declared(module(), **table)[1] == [THIS + told]


def test_what_is_wrong_with_a_method_leaves_the_others() -> None:
    found, _ = declared(module(), kinds=(("nothing", "send"), ("hand_over", "send")))
    assert found["Panel"] is not None
    assert "hand_over" in {method.name for method in found["Panel"].methods}


def test_a_module_without_classes_and_a_class_without_methods() -> None:
    assert declared(module("x = 1"))[1] == [
        THIS + "Panel: app.panel has no such class; there is none at all"
    ]
    assert declared(module("class Panel: ..."), kinds=(("a", "send"),))[1] == [
        THIS + "Panel: send = ['a']: no such method; there is none at all",
        THIS + "Panel: no rule finds a method in it; say which of its methods send",
    ]


def test_an_imported_class_is_told_by_its_own_name() -> None:
    made = module("")
    vars(made)["Panel"] = module(name="lib.panels").Panel
    assert declared(made) == (
        {},
        [THIS + "Panel: that class is only imported there; its own name is lib.panels:Panel"],
    )


# --- in the agent --------------------------------------------------------------------------------


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(agents, "say", found.append)
    return found


class Taken:
    """Stands where stage one's runtime stands: keeps what it is given."""

    def __init__(self) -> None:
        self.targets: dict[type, Target] = {}
        self.installer = self

    def __contains__(self, cls: type) -> bool:
        return cls in self.targets

    def manager(self, cls: type, target: Target, made: ModuleType) -> None:
        self.targets[cls] = target

    def factory(self, factory: object) -> None:
        raise AssertionError(factory)

    def failed(self, stage: str, fault: BaseException) -> None:
        raise fault


@pytest.fixture
def looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> Any:
    """Looks at a module under these settings; returns what was taken, by qualified name."""

    def look(toml: str, source: str, name: str = "app.panel", path: str = "") -> dict[str, Target]:
        (tmp_path / "ws.toml").write_text(toml)
        monkeypatch.setenv("WS_AUDIT_CONFIG", str(tmp_path / "ws.toml"))
        agent = agents.Agent()
        runtime = Taken()
        agent.runtime = runtime  # type: ignore[assignment]
        made = module(source, name)
        made.__file__ = path or str(tmp_path / "panel.py")
        agent.executed(made)
        agent.executed(made)
        return {cls.__qualname__: target for cls, target in runtime.targets.items()}

    return look


MANAGER = "class ConnectionManager:\n    def send(self, user_id, message): ...\n"


def test_the_agent_takes_a_named_class_and_the_rules_the_others(looked: Any) -> None:
    table = '[[manager]]\nclass = "app.panel:Panel"\nsend = ["hand_over"]'
    found = looked(table, HUB + MANAGER)
    assert sorted(found) == ["ConnectionManager", "Panel"]
    assert found["Panel"].reason == "named in [[manager]] 1"


def test_the_agent_leaves_an_ignored_class_alone(looked: Any) -> None:
    assert list(looked("", MANAGER)) == ["ConnectionManager"]
    table = '[[manager]]\nclass = "app.panel:ConnectionManager"\nignore = true'
    assert looked(table, MANAGER) == {}


@pytest.mark.parametrize("rule", ['include = ["else.*"]', 'exclude = ["app.*"]'])
def test_of_a_module_that_is_no_candidate_only_the_named_class_is_taken(
    rule: str, looked: Any
) -> None:
    table = '[[manager]]\nclass = "app.panel:Panel"\nsend = ["hand_over"]'
    assert list(looked(f"{rule}\n{table}", HUB + MANAGER)) == ["Panel"]
    assert looked(rule, HUB + MANAGER) == {}


def test_of_an_installed_library_only_the_named_class_is_taken(looked: Any) -> None:
    table = '[[manager]]\nclass = "app.panel:Panel"\nsend = ["hand_over"]'
    path = f"{sys.prefix}/lib/python3/site-packages/app/panel.py"
    assert list(looked(table, HUB + MANAGER, path=path)) == ["Panel"]


@pytest.mark.parametrize("name", ["__main__", "panel"])
def test_a_class_of_the_main_module_has_two_names(name: str, looked: Any) -> None:
    table = f'[[manager]]\nclass = "{name}:Panel"\nsend = ["hand_over"]'
    assert list(looked(table, HUB, name="__main__")) == ["Panel"]


def test_the_agent_tells_once_what_does_not_fit(looked: Any, said: list[str]) -> None:
    assert looked('[[manager]]\nclass = "app.panel:Pannel"', HUB) == {}
    assert said == ["[[manager]] 1, app.panel:Pannel: app.panel has no such class; nearest: Panel"]
