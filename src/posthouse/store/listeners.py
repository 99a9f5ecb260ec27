"""Who wants to hear of changes to one mailbox."""

from collections.abc import Callable

from posthouse.store.interface import Listener, MailboxEvent


class Listeners:
    def __init__(self) -> None:
        self._listeners: dict[int, Listener] = {}
        self._next = 0

    def __bool__(self) -> bool:
        return bool(self._listeners)

    def add(self, listener: Listener) -> Callable[[], None]:
        self._next += 1
        key = self._next
        self._listeners[key] = listener

        def stop() -> None:
            self._listeners.pop(key, None)

        return stop

    def tell(self, event: MailboxEvent) -> None:
        # A copy: a listener may end its session, and so stop listening, while it is told.
        for listener in list(self._listeners.values()):
            listener(event)
