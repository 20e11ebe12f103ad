"""Mail and texts; the routes hand work to the background."""
import smtplib
from email.message import EmailMessage

from fastapi import APIRouter, BackgroundTasks

router = APIRouter()


class EmailNotifier:  # other
    def __init__(self, host: str):
        self.host = host

    def notify(self, user_id: int, subject: str, body: str):
        message = EmailMessage()
        message["Subject"] = subject
        message.set_content(body)
        with smtplib.SMTP(self.host) as smtp:
            smtp.send_message(message)


class SMSNotifier:  # other
    def __init__(self, client):
        self.client = client

    async def send(self, to: str, text: str):
        await self.client.post("/messages", json={"to": to, "text": text})


class NotificationManager:  # other
    """Chooses the medium: mail, text or a postcard."""

    def __init__(self, *notifiers):
        self.notifiers = notifiers

    def send_notification(self, user_id: int, message: str):
        for notifier in self.notifiers:
            notifier.notify(user_id, "News", message)


class SmtpConnectionManager:  # other
    def __init__(self, host: str):
        self.host = host
        self.smtp = None

    def connect(self):
        self.smtp = smtplib.SMTP(self.host)

    def disconnect(self):
        self.smtp.quit()

    def send(self, message: EmailMessage):
        self.smtp.send_message(message)


@router.post("/welcome")
async def welcome(user_id: int, tasks: BackgroundTasks):
    tasks.add_task(EmailNotifier("localhost").notify, user_id, "Welcome", "")
