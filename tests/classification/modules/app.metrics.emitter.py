import socket
import time

from fastapi import Request


class MetricsEmitter:  # other
    """UDP to a collector."""

    def __init__(self, host: str, port: int = 8125):
        self.address = host, port
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def emit(self, name: str, value: float, **tags: str):
        self.socket.sendto(f"{name}:{value}|g".encode(), self.address)

    def send_timing(self, name: str, seconds: float):
        self.emit(name, seconds * 1000)


class TelemetryClient:  # other
    def __init__(self):
        self.buffer = []

    def push(self, event: dict):
        self.buffer.append(event)

    def flush(self):
        self.buffer.clear()


class RequestTimer:  # other
    def __init__(self, request: Request):
        self.request = request
        self.started = time.perf_counter()

    def stop(self, emitter: MetricsEmitter):
        emitter.send_timing(self.request.url.path, time.perf_counter() - self.started)


class AlertManager:  # other
    """Pages whoever is on duty, by way of a provider."""

    def __init__(self, provider):
        self.provider = provider
        self.open = {}

    def trigger_alert(self, name: str, text: str):
        self.open[name] = self.provider.create_incident(text)

    def resolve(self, name: str):
        self.provider.close(self.open.pop(name))
