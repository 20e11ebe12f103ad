"""An inference service behind FastAPI."""
from fastapi import FastAPI, UploadFile

app = FastAPI()


class StageRegistry:  # other
    def __init__(self):
        self.stages = {}

    def register(self, name, stage):
        self.stages[name] = stage

    def dispatch(self, name, data):
        return self.stages[name](data)


class BatchDispatcher:  # other
    """Collects requests and sends them to the accelerator together."""

    def __init__(self, size: int):
        self.size = size
        self.batch = []

    async def dispatch(self, item):
        self.batch.append(item)
        if len(self.batch) >= self.size:
            return self.batch

    async def send_batch(self, batch):
        return [item for item in batch]


class ModelManager:  # other
    def __init__(self):
        self.models = {}

    def load(self, name: str):
        self.models[name] = object()

    def push_to_hub(self, name: str, repository: str):
        return repository, self.models[name]


class ImageStore:  # other
    async def send(self, file: UploadFile, bucket: str):
        return bucket, await file.read()


class EventStreamManager:  # other
    """Appends to a stream of the warehouse."""

    def __init__(self, warehouse):
        self.warehouse = warehouse

    def push(self, stream: str, row: dict):
        self.warehouse.insert(stream, row)
