from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine


class DatabaseManager:  # other
    def __init__(self, url: str):
        self.engine = create_async_engine(url)

    async def connect(self):
        self.connection = await self.engine.connect()

    async def disconnect(self):
        await self.engine.dispose()

    async def execute(self, statement):
        return await self.connection.execute(statement)


class DatabaseConnectionManager:  # other
    """A pool, with listeners for slow statements."""

    def __init__(self, size: int = 10):
        self.size = size
        self.pool = []

    def acquire(self):
        return self.pool.pop()

    def release(self, connection):
        self.pool.append(connection)

    def notify_slow(self, statement, seconds):
        print(statement, seconds)


class SessionManager:  # other
    def __init__(self, maker):
        self.maker = maker

    @asynccontextmanager
    async def session(self):
        async with self.maker() as session:
            yield session

    async def close(self):
        await self.maker.close()


class UnitOfWork:  # other
    def __init__(self, session: AsyncSession = Depends()):
        self.session = session
        self.events = []

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        await self.session.rollback()

    async def commit(self):
        await self.session.commit()
        self.publish_events()

    def publish_events(self):
        self.events.clear()


class UserRepository:  # other
    def __init__(self, session: AsyncSession):
        self.session = session

    async def get(self, user_id: int):
        user = await self.session.get(object, user_id)
        if user is None:
            raise HTTPException(404)
        return user


app = FastAPI()
