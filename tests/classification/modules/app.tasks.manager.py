"""Background work of an API."""
import asyncio
import uuid

from celery import Celery, Task
from fastapi import BackgroundTasks

celery = Celery("app")


class TaskManager:  # other
    def __init__(self):
        self.tasks = {}

    def dispatch(self, name: str, *args):
        task_id = uuid.uuid4().hex
        self.tasks[task_id] = celery.send_task(name, args)
        return task_id

    def status(self, task_id: str):
        return self.tasks[task_id].state


class JobManager:  # other
    def __init__(self, background: BackgroundTasks):
        self.background = background

    def enqueue(self, function, *args):
        self.background.add_task(function, *args)


class ReportTask(Task):  # other
    name = "report"

    def run(self, user_id: int):
        return user_id

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        self.send_error(task_id, exc)

    def send_error(self, task_id, exc):
        print(task_id, exc)


class ResourceManager:  # other
    def __init__(self, limit: int):
        self._slots = asyncio.Semaphore(limit)

    async def __aenter__(self):
        await self._slots.acquire()

    async def __aexit__(self, *exc):
        self._slots.release()


class Scheduler:  # other
    def __init__(self):
        self.jobs = []

    def register(self, job, seconds: float):
        self.jobs.append((job, seconds))

    def trigger(self, job):
        job()


class WorkerPool:  # other
    def __init__(self, size: int):
        self.queue = asyncio.Queue()
        self.size = size

    async def push(self, job):
        await self.queue.put(job)

    async def start(self):
        return [asyncio.create_task(self._work()) for _ in range(self.size)]

    async def _work(self):
        while True:
            await (await self.queue.get())()
