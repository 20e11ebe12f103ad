"""Signals of Django, and an SDK's client manager."""
from django.dispatch import Signal

order_paid = Signal()


class SignalEmitter:  # other
    def __init__(self, signal):
        self.signal = signal

    def emit(self, sender, **values):
        self.signal.send(sender, **values)


class StockSubscriberManager:  # other
    """Who wants a mail when something is in stock again."""

    def __init__(self, mailer):
        self.mailer = mailer
        self.emails = {}

    def subscribe(self, sku, email):
        self.emails.setdefault(sku, []).append(email)

    def notify(self, sku):
        for email in self.emails.pop(sku, ()):
            self.mailer.send(email, sku)


class ClientManager:  # other
    """API clients of the warehouse, one by region."""

    def __init__(self, factory):
        self.factory = factory
        self.clients = {}

    def get(self, region):
        return self.clients.setdefault(region, self.factory(region))

    def send_order(self, region, order):
        return self.get(region).post("/orders", order)


class CheckoutView:  # other
    def post(self, request):
        order_paid.send(self.__class__, order=request.POST["order"])
