"""Telling, within a process and to the other request managers, which requests changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

Listener = Callable[[str], None]
"""Called with the id of a request that changed; must not block."""

RESYNC = ""
"""In place of a request: look for what changed."""


class ChangeBus:
    """Who wants to know of which request."""

    def __init__(self) -> None:
        self._of_one: dict[str, set[Listener]] = {}
        self._of_all: set[Listener] = set()
        self._outward: Callable[[list[str]], None] | None = None

    def listen(self, listener: Listener, request_ids: Iterable[str] = ()) -> None:
        """Call `listener` at each change of the named requests, or of all if none is named."""
        named = list(request_ids)
        if not named:
            self._of_all.add(listener)
        for request_id in named:
            self._of_one.setdefault(request_id, set()).add(listener)

    def forget(self, listener: Listener, request_ids: Iterable[str] = ()) -> None:
        """Take back what `listen` was told."""
        named = list(request_ids)
        if not named:
            self._of_all.discard(listener)
        for request_id in named:
            listeners = self._of_one.get(request_id, set())
            listeners.discard(listener)
            if not listeners:
                self._of_one.pop(request_id, None)

    def tell_others(self, outward: Callable[[list[str]], None]) -> None:
        """Also hand every change of this process to `outward`, for the other processes."""
        self._outward = outward

    def changed(self, request_ids: Iterable[str]) -> None:
        """Requests were changed by this process."""
        named = list(request_ids)
        self.heard(named)
        if self._outward and named:
            self._outward(named)

    def heard(self, request_ids: Iterable[str]) -> None:
        """Requests were changed by another process."""
        for request_id in request_ids:
            for listener in (*self._of_one.get(request_id, ()), *self._of_all):
                listener(request_id)

    def nothing_heard(self) -> None:
        """Changes of other processes may have been missed: every request may have changed."""
        for listener in self._of_all:
            listener(RESYNC)
        self.heard(list(self._of_one))
