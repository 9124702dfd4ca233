"""Threads that wait for the directory, so that the event loop never does. No ldap3 here.

Each thread owns its tool (`make_tool`), shares it with nobody and closes it itself. A job
that nobody waits for any more is interrupted (`Tool.interrupt`), which ends a blocked read.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from eas_redirect.directory.ldap.faults import Fault

_PATIENCE_S = 0.25  # for all threads together when closing: the event loop may be waiting


def closed_fault() -> Fault:
    return Fault("closed", "the directory has been closed", "question")


class Deadline:
    """When a question ends: at a time of `time.monotonic`, or when nobody waits any more."""

    def __init__(self, at: float) -> None:
        self._at = at
        self._abandoned = False

    def remaining(self) -> float:
        """Seconds, never negative."""
        return 0.0 if self._abandoned else max(0.0, self._at - time.monotonic())

    def abandon(self) -> None:
        self._abandoned = True


class Tool(Protocol):
    """What one thread works with."""

    def interrupt(self) -> None:
        """End whatever its thread waits for; called from another thread."""
        ...

    def close(self) -> None:
        """Close its connections; called by its own thread."""
        ...


class _Runnable[T](Protocol):
    def run(self, tool: T) -> None: ...

    def refuse(self) -> None: ...

    def abandon(self) -> None: ...


class Job[T: Tool, R]:
    """A question to one thread's tool, and its future answer."""

    def __init__(self, question: Callable[[T, Deadline], R], deadline: Deadline) -> None:
        self.future: Future[R] = Future()
        self._question = question
        self._deadline = deadline
        self._lock = threading.Lock()
        self._tool: T | None = None

    def run(self, tool: T) -> None:
        """In the worker's thread."""
        if not self.future.set_running_or_notify_cancel():
            return
        self._hold(tool)
        try:
            answer = self._question(tool, self._deadline)
        except BaseException as error:
            self._hold(None)
            self.future.set_exception(error)
        else:
            self._hold(None)
            self.future.set_result(answer)

    def refuse(self) -> None:
        """Called in place of `run` when the workers close."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(closed_fault())

    def abandon(self) -> None:
        """Nobody waits any more: free the thread. Thread-safe."""
        self._deadline.abandon()
        with self._lock:
            if self._tool is not None:
                self._tool.interrupt()

    def _hold(self, tool: T | None) -> None:
        with self._lock:
            self._tool = tool


class Workers[T: Tool]:
    """At most `size` threads, started on demand."""

    def __init__(self, size: int, make_tool: Callable[[], T], name: str) -> None:
        self._size = size
        self._make_tool = make_tool
        self._name = name
        self._jobs: queue.SimpleQueue[_Runnable[T] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._running: set[_Runnable[T]] = set()
        self._idle = 0
        self._closed = False
        self._lock = threading.Lock()

    def submit[R](self, question: Callable[[T, Deadline], R], deadline: Deadline) -> Job[T, R]:
        """Raises the fault `closed` after close()."""
        job = Job(question, deadline)
        with self._lock:
            if self._closed:
                raise closed_fault()
            if self._idle <= self._jobs.qsize() and len(self._threads) < self._size:
                self._start_thread()
            self._jobs.put(job)
        return job

    def close(self) -> None:
        """Ends every thread; waits for them a moment only. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            threads, running = tuple(self._threads), tuple(self._running)
        self._refuse_waiting()
        for _ in threads:
            self._jobs.put(None)
        for job in running:
            job.abandon()
        give_up = time.monotonic() + _PATIENCE_S
        for thread in threads:
            thread.join(max(0.0, give_up - time.monotonic()))

    def _refuse_waiting(self) -> None:
        with contextlib.suppress(queue.Empty):
            while (job := self._jobs.get_nowait()) is not None:
                job.refuse()

    def _start_thread(self) -> None:
        name = f"{self._name}-{len(self._threads)}"
        # Daemons: a thread in the resolver, which nothing interrupts, must not hold up an exit.
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        tool = self._make_tool()
        try:
            while (job := self._next()) is not None:
                job.run(tool)
                with self._lock:
                    self._running.discard(job)
                del job  # an idle thread keeps no answer alive
        finally:
            tool.close()

    def _next(self) -> _Runnable[T] | None:
        with self._lock:
            self._idle += 1
        job = self._jobs.get()
        with self._lock:
            self._idle -= 1
            if job is not None:
                self._running.add(job)
            if job is not None and self._closed:
                job.abandon()
        return job
