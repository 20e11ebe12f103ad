from celery import Celery
from fastapi import FastAPI, Request
from starlette.responses import StreamingResponse

app = FastAPI()
celery = Celery("jobs")


class ResultPublisher:  # other
    """Results to the archive."""

    def __init__(self, archive):
        self.archive = archive

    def publish(self, task_id: str, result: dict):
        self.archive.write(task_id, result)


class ExportStreamer:  # other
    """A download in pieces: an answer to one request, no conversation."""

    def __init__(self, rows):
        self.rows = rows

    def respond(self, request: Request):
        return StreamingResponse((f"{row}\n" for row in self.rows), media_type="text/csv")


class ConnectionPool:  # other
    def __init__(self, size: int):
        self.idle = list(range(size))

    def connect(self):
        return self.idle.pop()

    def disconnect(self, connection):
        self.idle.append(connection)
