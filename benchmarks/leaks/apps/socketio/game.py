# SPDX-License-Identifier: Apache-2.0
"""Namespace /game: sealed orders, one player after the other."""

import socketio

import users

tables = {}


class GameNamespace(socketio.AsyncNamespace):
    async def on_connect(self, sid, environ, auth):
        user = users.by_token((auth or {}).get("token"))
        if user is None:
            return False
        await self.save_session(sid, {"name": user["name"]})

    async def on_sit(self, sid, data):
        name = (await self.get_session(sid))["name"]
        table = tables.setdefault(data["table"], {"players": [], "turn": 0, "orders": {}})
        table["players"].append(name)
        await self.enter_room(sid, f"table:{data['table']}")
        await self.show(data["table"], "game:players", players=table["players"])

    async def on_orders(self, sid, data):
        """Orders stay sealed; the table only learns whose turn it is."""
        name = (await self.get_session(sid))["name"]
        table = tables[data["table"]]
        players = table["players"]
        if players[table["turn"] % len(players)] != name:
            await self.emit("game:refused", {"detail": "not your turn"}, to=sid)
            return
        table["orders"][name] = data["orders"]
        table["turn"] += 1
        await self.emit("game:orders", {"player": name, "orders": data["orders"]}, to=sid)
        following = players[table["turn"] % len(players)]
        await self.show(data["table"], "game:turn", turn=table["turn"], player=following, by=name)

    async def show(self, table, event, **body):
        await self.emit(event, {"table": table, **body}, room=f"table:{table}")
