# SPDX-License-Identifier: Apache-2.0
"""Customer records live in another system with a cookie based API; this is the local stand-in."""

import asyncio
import secrets

import users


class CrmServer:
    def __init__(self):
        self.sessions = {}

    async def get(self, headers, cookies):
        """The account page, and the cookies to set."""
        await asyncio.sleep(0.005)
        key = cookies.get("crm_session")
        if key not in self.sessions:
            key = secrets.token_hex(8)
            self.sessions[key] = users.by_token(headers["authorization"])["name"]
        user = users.get(self.sessions[key])
        return f"account no. {user['secret']}, balance 120.00", {"crm_session": key}


server = CrmServer()


class CrmClient:
    """Keeps cookies, because a login costs the CRM a second."""

    def __init__(self):
        self.cookies = {}

    async def card(self, token):
        text, cookies = await server.get({"authorization": token}, self.cookies)
        self.cookies.update(cookies)
        return text


_clients = {}


def client_for(name):
    if name not in _clients:
        _clients[name] = CrmClient()
    return _clients[name]
