import asyncio
import os

from watchdog.events import FileSystemEventHandler


class ReloadHandler(FileSystemEventHandler):  # other
    def __init__(self, callback):
        self.callback = callback

    def dispatch(self, event):
        if not event.is_directory:
            self.callback(event.src_path)


class FileWatcher:  # other
    def __init__(self, path):
        self.path = path
        self.subscribers = []

    def subscribe(self, callback):
        self.subscribers.append(callback)

    def notify(self):
        for callback in self.subscribers:
            callback(os.stat(self.path).st_mtime)


class LineProtocol(asyncio.Protocol):  # other
    """A line printer on a TCP port."""

    def connection_made(self, transport):
        self.transport = transport

    def send_line(self, line):
        self.transport.write(line.encode() + b"\n")


class SerialConnectionManager:  # other
    """A scale on a serial port."""

    def __init__(self, port):
        self.port = port
        self.device = None

    def connect(self):
        self.device = open(self.port, "rb+")

    def send(self, command):
        self.device.write(command)
