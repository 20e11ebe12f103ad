"""Between services."""
import json

import aio_pika
from aiokafka import AIOKafkaProducer
from redis.asyncio import Redis


class KafkaEventProducer:  # other
    def __init__(self, servers: str):
        self.producer = AIOKafkaProducer(bootstrap_servers=servers)

    async def start(self):
        await self.producer.start()

    async def send(self, topic: str, value: dict):
        await self.producer.send_and_wait(topic, json.dumps(value).encode())


class RabbitMQConnectionManager:  # other
    def __init__(self, url: str):
        self.url = url
        self.channel = None

    async def connect(self):
        connection = await aio_pika.connect_robust(self.url)
        self.channel = await connection.channel()

    async def publish(self, routing_key: str, body: dict):
        message = aio_pika.Message(json.dumps(body).encode())
        await self.channel.default_exchange.publish(message, routing_key)


class RedisConnectionManager:  # other
    def __init__(self, url: str):
        self.url = url
        self.redis = None

    async def connect(self):
        self.redis = Redis.from_url(self.url)

    async def disconnect(self):
        await self.redis.close()

    async def publish(self, channel: str, message: dict):
        await self.redis.publish(channel, json.dumps(message))


class MessageBroker:  # other
    def __init__(self, redis: Redis):
        self.redis = redis

    async def publish(self, queue: str, message: dict):
        await self.redis.rpush(queue, json.dumps(message))

    async def consume(self, queue: str):
        return json.loads(await self.redis.blpop(queue))


class OutboxRelay:  # other
    """The transactional outbox: rows to the broker."""

    def __init__(self, session, producer: KafkaEventProducer):
        self.session = session
        self.producer = producer

    async def dispatch_pending(self):
        for row in await self.session.execute("select * from outbox"):
            await self.producer.send(row.topic, row.payload)
