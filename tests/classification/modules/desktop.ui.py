"""Windows and buttons."""
from PyQt6.QtCore import QObject, pyqtSignal


class EventHub(QObject):  # other
    clicked = pyqtSignal(str)

    def emit_clicked(self, name):
        self.clicked.emit(name)

    def connect_clicked(self, slot):
        self.clicked.connect(slot)


class MainWindow(QObject):  # other
    def __init__(self):
        super().__init__()
        self.panels = []

    def register_panel(self, panel):
        self.panels.append(panel)

    def notify_panels(self, event):
        for panel in self.panels:
            panel.update(event)


class GuiDispatcher:  # other
    def __init__(self):
        self.slots = {}

    def connect(self, signal, slot):
        self.slots.setdefault(signal, []).append(slot)

    def dispatch(self, signal, *args):
        for slot in self.slots.get(signal, ()):
            slot(*args)
