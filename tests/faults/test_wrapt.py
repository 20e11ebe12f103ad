# SPDX-License-Identifier: Apache-2.0
"""Where wrapt does the work, and every wrapt there is.

A framework's function may be compiled or an object; wrapt's proxy stands before those. Hosts
pin wrapt 1.16 or have 2.x, with its C extension or without: each must do.
"""

from __future__ import annotations

import functools
import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.harness import Agent, agent, module_of
from tests.requirements import missing

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[2]
OLDEST = "1.16.0"
SUITE = ("test_transparency", "test_seen_from_inside", "test_joins", "test_injection", "test_wrapt")

WHICH = """
import sys, wrapt
print(wrapt.__version__, "wrapt._wrappers" in sys.modules or "_wrappers" in sys.modules)
"""


class Seen:
    """A hook that keeps what it is shown; `fault` is raised where one is named."""

    stage = "sink"

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.calls: list[Any] = []

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.calls.append((args, kwargs))
        if self.fault == "before":
            raise RuntimeError("ours")
        return self

    def after(self, state: Any, result: Any, error: BaseException | None) -> None:
        self.calls.append((result, type(error).__name__))
        if self.fault == "after":
            raise RuntimeError("ours")


class Callable_:  # noqa: N801 - a framework's object that is called
    """Takes the application."""

    level = 3

    def __call__(self, application: str, *, loud: bool = False) -> tuple[str, bool]:
        return application, loud


class Holder:
    """A class that keeps a compiled function and a callable object."""

    take = Callable_()
    counted = len


THINGS: dict[str, Any] = {
    "compiled": divmod,
    "object": Callable_(),
    "partial": functools.partial(divmod, 17),
    "bound": [3, 1, 2].count,
}
CALLS: dict[str, tuple[Any, ...]] = {
    "compiled": (17, 5),
    "object": ("app",),
    "partial": (5,),
    "bound": (3,),
}


@pytest.fixture
def audited() -> Iterator[Agent]:
    with agent() as made:
        yield made


@pytest.mark.parametrize("fault", ["", "before", "after"])
@pytest.mark.parametrize("thing", THINGS)
def test_what_is_no_plain_function_keeps_its_nature(audited: Agent, thing: str, fault: str) -> None:
    original = THINGS[thing]
    framework = module_of("framework", take=original)
    hook = Seen(fault)
    audited.runtime.patch(framework, "take", hook)
    now = framework.take

    assert now is not original
    assert now == original
    assert isinstance(now, type(original))
    assert now.__class__ is type(original)
    assert callable(now)
    assert str(inspect.signature(now)) == str(inspect.signature(original))
    assert now.__doc__ == original.__doc__
    result = original(*CALLS[thing])
    assert now(*CALLS[thing]) == result
    assert hook.calls == [
        (CALLS[thing], {}),
        *([] if fault == "before" else [(result, "NoneType")]),
    ]
    assert len(audited.said) == bool(fault)

    audited.remove()
    assert framework.take is original
    assert now(*CALLS[thing]) == result  # somebody kept it: a plain call
    assert len(hook.calls) == (1 if fault == "before" else 2)


def test_its_exceptions_and_attributes_are_its_own(audited: Agent) -> None:
    framework = module_of("framework", divide=divmod, take=Callable_())
    hook = Seen()
    audited.runtime.patch(framework, "divide", hook)
    audited.runtime.patch(framework, "take", Seen())
    with pytest.raises(ZeroDivisionError):
        framework.divide(1, 0)
    assert hook.calls[-1] == (None, "ZeroDivisionError")
    with pytest.raises(TypeError):
        framework.divide()
    assert framework.take.level == 3
    assert framework.take("app", loud=True) == ("app", True)


def test_a_compiled_method_has_its_instance(audited: Agent) -> None:
    """As `Config.load` has, when a server is compiled: the hook wants to know whose it is."""

    class Compiled(list[int]):
        taken = list.count

    framework, hook = module_of("framework", Compiled=Compiled), Seen()
    audited.runtime.patch(framework, "Compiled.taken", hook)
    numbers = Compiled([3, 1, 3])
    assert numbers.taken(3) == 2
    assert Compiled.taken(numbers, 1) == 1
    assert hook.calls == [((numbers, 3), {}), (2, "NoneType"), ((numbers, 1), {}), (1, "NoneType")]
    with pytest.raises(TypeError):
        Compiled.taken()  # type: ignore[call-arg]


def test_in_a_class_too(audited: Agent) -> None:
    framework = module_of("framework", Holder=Holder)
    before = dict(Holder.__dict__)
    for path, given, result in (("take", "app", ("app", False)), ("counted", [1, 2], 2)):
        hook = Seen()
        audited.runtime.patch(framework, f"Holder.{path}", hook)
        assert getattr(Holder(), path)(given) == result
        assert getattr(Holder, path)(given) == result
        assert [call for call, _ in hook.calls[::2]] == [(given,), (given,)]
    audited.remove()
    assert all(Holder.__dict__[name] is value for name, value in before.items())


# --- the same suite under other wrapts ------------------------------------------------------------


@pytest.fixture(scope="module")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the oldest wrapt we promise; WS_AUDIT_TEST_WRAPT names one that is there."""
    given = os.environ.get("WS_AUDIT_TEST_WRAPT")
    if given:
        return Path(given)
    target = tmp_path_factory.mktemp("wrapt")
    words = ["install", "--quiet", "--no-deps", "--only-binary", ":all:", "--target", str(target)]
    ended = subprocess.run(
        [sys.executable, "-m", "pip", *words, f"wrapt=={OLDEST}"],
        capture_output=True,
        check=False,
        timeout=60,
    )
    if ended.returncode:
        missing(f"wrapt {OLDEST} from a package index")
    return target


def suite(path: Path | None, *, extension: bool) -> None:
    """Run this folder's tests under another wrapt, in an interpreter of its own."""
    variables = {
        **{name: value for name, value in os.environ.items() if name != "WRAPT_DISABLE_EXTENSIONS"},
        "PYTHONPATH": os.pathsep.join(
            [str(entry) for entry in (path, REPOSITORY / "src") if entry is not None]
        ),
        **({} if extension else {"WRAPT_DISABLE_EXTENSIONS": "1"}),
    }

    def run(*words: str) -> str:
        ended = subprocess.run(
            [sys.executable, *words],
            cwd=REPOSITORY,
            env=variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr
        return ended.stdout

    version, compiled = run("-c", WHICH).split()
    assert path is None or version == OLDEST
    if extension and compiled == "False":
        missing(f"the C extension of wrapt {version} for this Python")
    assert compiled == str(extension)
    words = ("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", "not under_wrapt")
    out = run(*words, *(f"tests/faults/{name}.py" for name in SUITE))
    assert " passed" in out
    assert " failed" not in out


def test_under_wrapt_without_its_c_extension() -> None:
    suite(None, extension=False)


@pytest.mark.parametrize("extension", [True, False], ids=["C extension", "pure Python"])
def test_under_wrapt_of_old(oldest: Path, extension: bool) -> None:
    suite(oldest, extension=extension)
