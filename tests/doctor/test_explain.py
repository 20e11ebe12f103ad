"""`ws-audit doctor explain TARGET`, and that what it proposes holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import tomli

from tests.doctor.stage import HERE, doctor

if TYPE_CHECKING:
    from pathlib import Path

SHOP = '''
from fastapi import WebSocket


class OrderManager:
    """Sends, by names no rule knows."""

    def __init__(self, user_id):
        self.user_id = user_id

    async def enroll(self, websocket: WebSocket, user_id): ...

    async def hand(self, user_id, message): ...

    def total(self): ...


class MockManager:
    async def send(self, message): ...


class Hub:
    def __init__(self, user_id):
        self._user_id = user_id

    async def send(self, user_id, message): ...

    async def send_to_room(self, room, message): ...


def get_hub() -> Hub:
    return Hub("one")


print("the shop is open")
'''


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").write_text("")
    (tmp_path / "shop" / "live.py").write_text(SHOP)
    return tmp_path


def explain(folder: Path, target: str, **environment: str) -> dict[str, Any]:
    ended = doctor(folder, "--format", "json", "explain", target, **environment)
    assert ended.code == 0, ended.err
    assert "importing" in ended.err
    found: dict[str, Any] = json.loads(ended.out)
    return found


@pytest.mark.parametrize("target", ["shop.live", "shop/live.py"])
def test_a_module(shop: Path, target: str) -> None:
    document = explain(shop, target)
    assert document["module"] == "shop.live"
    classes = {one["class"]: one for one in document["classes"]}
    hub = classes["shop.live:Hub"]
    assert hub["taken"] is True
    assert hub["owners"] == ["user_id", "_user_id"]
    methods = {one["name"]: one for one in hub["methods"]}
    assert methods["send"]["kind"] == "send"
    assert methods["send"]["recipient"] == "user_id"
    assert methods["send"]["payload"] == "message"
    assert methods["send_to_room"]["kind"] == "broadcast"
    assert methods["send_to_room"]["room"] == "room"
    mock = classes["shop.live:MockManager"]
    assert mock["taken"] is False
    assert "test double" in mock["reason"]
    order = classes["shop.live:OrderManager"]
    assert order["taken"] is False
    assert order["reason"]
    assert {one["name"]: one["why"] for one in order["not_hooked"]}["total"]
    assert [one["factory"] for one in document["factories"]] == ["shop.live:get_hub"]


def test_the_proposed_table_has_the_class_taken(shop: Path) -> None:
    (order,) = explain(shop, "shop.live:OrderManager")["classes"]
    proposed = tomli.loads(order["table"])["manager"][0]
    assert proposed["send"] == ["hand"]
    assert proposed["bind"] == ["enroll"]
    (shop / "t.toml").write_text(order["table"])
    after = explain(shop, "shop.live:OrderManager", WS_AUDIT_CONFIG="t.toml")
    (entry,) = after["classes"]
    assert entry["taken"] is True
    assert after["told"] == []
    methods = {one["name"]: one for one in entry["methods"]}
    assert methods["hand"]["recipient"] == "user_id"
    assert methods["enroll"]["socket"] == "websocket"


def test_the_proposed_table_has_a_class_left_alone(shop: Path) -> None:
    (hub,) = explain(shop, "shop.live:Hub")["classes"]
    (shop / "t.toml").write_text(hub["table"])
    (entry,) = explain(shop, "shop.live:Hub", WS_AUDIT_CONFIG="t.toml")["classes"]
    assert entry["taken"] is False
    assert "ignore" in entry["reason"]


def test_one_method(shop: Path) -> None:
    (hub,) = explain(shop, "shop.live:Hub.send_to_room")["classes"]
    assert [one["name"] for one in hub["methods"]] == ["send_to_room"]
    (order,) = explain(shop, "shop.live:OrderManager.total")["classes"]
    assert [one["name"] for one in order["not_hooked"]] == ["total"]


def test_a_module_that_is_not_looked_at(shop: Path) -> None:
    document = explain(shop, "shop.live", WS_AUDIT_EXCLUDE="shop.*")
    assert document["looked_at"] is False
    assert "shop.*" in document["why_not"]
    assert not any(one["taken"] for one in document["classes"])


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("shop.liv", "nearest: shop.live"),
        ("shpo", "nearest: shop"),
        ("shop.live:Hob", "nearest: Hub"),
        ("shop.live:Hub.sent", "nearest: send"),
        ("shop/life.py", "nearest: live.py"),
        ("broken", "ZeroDivisionError"),
        ("leaves", "exit code"),
    ],
)
def test_what_is_not_there_is_named_with_the_nearest(shop: Path, target: str, said: str) -> None:
    (shop / "broken.py").write_text("1 / 0\n")
    (shop / "leaves.py").write_text("import os\nos._exit(5)\n")
    ended = doctor(shop, "explain", target)
    assert ended.code == 2
    assert said in ended.err
    assert ended.out == ""


def test_the_text(shop: Path) -> None:
    ended = doctor(shop, "explain", "shop.live")
    assert ended.code == 0
    for words in ("TAKEN", "LEFT ALONE", "shop.live:Hub", "ignore = true", "user user_id"):
        assert words in ended.out
    assert "the shop is open" not in ended.out
    assert HERE.is_dir()
