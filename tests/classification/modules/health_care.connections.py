"""With what the applications keep by other ids than the user's."""
from typing import Optional

from fastapi import WebSocket


class MeetingConnections:  # manager
    def __init__(self):
        self.by_meeting: dict[str, dict[str, WebSocket]] = {}

    async def connect(self, meeting_id: str, participant: str, websocket: WebSocket):
        await websocket.accept()
        self.by_meeting.setdefault(meeting_id, {})[participant] = websocket

    async def broadcast_to_meeting(self, meeting_id: str, message: dict):
        for websocket in self.by_meeting.get(meeting_id, {}).values():
            await websocket.send_json(message)


class DeviceGateway:  # manager
    """Devices that have dialled in."""

    def __init__(self):
        self.devices: dict[str, WebSocket] = {}

    async def login(self, device_id: str, websocket: WebSocket):
        self.devices[device_id] = websocket

    async def send_command(self, device_id: str, command: str, args: Optional[dict] = None):
        await self.devices[device_id].send_json({"command": command, "args": args or {}})


class AppointmentReminder:  # other
    """Runs at night and sends texts to telephones."""

    def __init__(self, sms):
        self.sms = sms

    def send_reminders(self, day):
        for appointment in day:
            self.sms.send(appointment.phone, f"See you at {appointment.time}")


class WaitingRoom:  # other
    def __init__(self):
        self.patients = []

    def check_in(self, patient):
        self.patients.append(patient)

    def next(self):
        return self.patients.pop(0)
