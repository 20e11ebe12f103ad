import json
import weakref

from tornado import web, websocket
from tornado.ioloop import IOLoop


class ChatSocketHandler(websocket.WebSocketHandler):  # manager
    waiters = weakref.WeakSet()

    def open(self):
        self.waiters.add(self)

    def on_close(self):
        self.waiters.discard(self)

    def on_message(self, message):
        self.send_updates(json.loads(message))

    @classmethod
    def send_updates(cls, chat):
        for waiter in cls.waiters:
            waiter.write_message(chat)


class KernelChannel(websocket.WebSocketHandler):  # manager
    def open(self, kernel_id):
        self.kernel_id = kernel_id

    def on_message(self, message):
        self.write_message(message)


class BaseHandler(web.RequestHandler):  # other
    def get_current_user(self):
        return self.get_secure_cookie("user")

    def write_error(self, status_code, **kwargs):
        self.write({"error": status_code})


class LoginHandler(BaseHandler):  # other
    def post(self):
        self.set_secure_cookie("user", self.get_argument("name"))


class PeriodicCleaner:  # other
    def __init__(self, loop=None):
        self.loop = loop or IOLoop.current()

    def start(self):
        self.loop.call_later(60, self.clean)

    def clean(self):
        pass
