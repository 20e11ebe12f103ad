from django.db import models


class MessageManager(models.Manager):  # other
    def unread(self, user_id):
        return self.filter(recipient_id=user_id, read=False)

    def send(self, sender, recipient, text):
        return self.create(sender=sender, recipient=recipient, text=text)


class NotificationManager(models.Manager):  # other
    def notify(self, user, verb, target=None):
        return self.create(recipient=user, verb=verb, target=target)


class Notification(models.Model):  # other
    objects = NotificationManager()

    def mark_read(self):
        self.read = True
        self.save()


class SubscriberQuerySet(models.QuerySet):  # other
    def active(self):
        return self.filter(active=True)
