"""State machines and the like, in a module of the API."""
from abc import ABC, abstractmethod
from enum import Enum, auto

from fastapi import HTTPException
from pydantic import BaseModel, Field


class OrderState(Enum):  # other
    NEW = auto()
    PAID = auto()
    SENT = auto()


class OrderStateMachine:  # other
    def __init__(self):
        self.state = OrderState.NEW

    def send(self, event: str):
        if event == "pay":
            self.state = OrderState.PAID
        elif event == "ship":
            self.state = OrderState.SENT
        else:
            raise HTTPException(409)


class PublishRequest(BaseModel):  # other
    title: str
    body: str = Field(max_length=10_000)

    def publish(self) -> dict:
        return self.model_dump()


class ArticleService:  # other
    def __init__(self, repo):
        self.repo = repo

    def publish(self, article_id: int, user_id: int):
        self.repo.update(article_id, published=True, by=user_id)

    def notify_followers(self, article_id: int):
        self.repo.queue_mail(article_id)


class PaymentGateway(ABC):  # other
    @abstractmethod
    def connect(self): ...

    @abstractmethod
    def send(self, amount: int, account_id: str): ...


class StripeGateway(PaymentGateway):  # other
    def connect(self):
        self.key = "k"

    def send(self, amount: int, account_id: str):
        return {"amount": amount, "account": account_id}


class CommandBus:  # other
    def __init__(self):
        self.handlers = {}

    def register(self, command: type, handler):
        self.handlers[command] = handler

    def dispatch(self, command):
        return self.handlers[type(command)](command)


class PluginRegistry:  # other
    def __init__(self):
        self.plugins = {}

    def register(self, name, plugin):
        self.plugins[name] = plugin

    def notify(self, hook, **values):
        for plugin in self.plugins.values():
            getattr(plugin, hook)(**values)
