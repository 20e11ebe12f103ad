import json
import time

from redis.asyncio import Redis
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request


class CacheManager:  # other
    def __init__(self, redis: Redis):
        self.redis = redis

    async def get(self, key: str):
        value = await self.redis.get(key)
        return json.loads(value) if value else None

    async def push(self, key: str, value, seconds: int = 60):
        await self.redis.set(key, json.dumps(value), ex=seconds)

    async def publish_invalidation(self, key: str):
        await self.redis.publish("invalidate", key)


class UserSessionManager:  # other
    """Cookies and what is kept behind them."""

    def __init__(self, redis: Redis):
        self.redis = redis

    async def create_session(self, user_id: str) -> str:
        await self.redis.set(f"session:{user_id}", time.time())
        return user_id

    async def delete_session(self, user_id: str):
        await self.redis.delete(f"session:{user_id}")


class TimingMiddleware(BaseHTTPMiddleware):  # other
    async def dispatch(self, request: Request, call_next):
        started = time.perf_counter()
        response = await call_next(request)
        response.headers["X-Time"] = str(time.perf_counter() - started)
        return response


class LoggingMiddleware:  # other
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)


class ContextManager:  # other
    def __init__(self, name: str):
        self.name = name

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.emit("exit")

    def emit(self, what: str):
        print(self.name, what)
