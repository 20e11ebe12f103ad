"""Calls out to other people's servers."""
import hashlib
import hmac

import httpx
from fastapi import APIRouter, Depends, Request, Response

router = APIRouter()


class WebhookNotifier:  # other
    def __init__(self, secret: str):
        self.secret = secret

    async def notify(self, url: str, payload: dict) -> int:
        async with httpx.AsyncClient() as client:
            return (await client.post(url, json=payload)).status_code


class WebhookRegistry:  # other
    def __init__(self):
        self.urls: dict[str, str] = {}

    def register(self, tenant: str, url: str):
        self.urls[tenant] = url

    def unregister(self, tenant: str):
        self.urls.pop(tenant, None)

    async def trigger(self, tenant: str, payload: dict):
        await WebhookNotifier("s").notify(self.urls[tenant], payload)


class SlackClient:  # other
    def __init__(self, token: str):
        self.token = token

    async def connect(self):
        self.client = httpx.AsyncClient(headers={"Authorization": self.token})

    async def send_message(self, channel: str, text: str):
        await self.client.post("https://slack.example/api", json={"channel": channel, "text": text})


class SignatureVerifier:  # other
    def __init__(self, request: Request):
        self.request = request

    async def valid(self, secret: bytes) -> bool:
        body = await self.request.body()
        return hmac.new(secret, body, hashlib.sha256).hexdigest() == self.request.headers["X-Sig"]


class BillingClient:  # other
    def __init__(self, base_url: str):
        self.http = httpx.AsyncClient(base_url=base_url)

    async def _send(self, method: str, path: str, **kwargs) -> Response:
        return await self.http.request(method, path, **kwargs)

    async def charge(self, account_id: str, cents: int):
        return await self._send("POST", f"/accounts/{account_id}/charges", json={"cents": cents})


def get_notifier(notifier: WebhookNotifier = Depends()):
    return notifier
