"""Threads: started when needed, freed when nobody waits, ended when closed."""

import gc
import threading
import time
import weakref
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from eas_redirect.directory.ldap import workers as workers_module
from eas_redirect.directory.ldap.faults import Fault
from eas_redirect.directory.ldap.workers import Deadline, Job, Workers
from tests.directory.fakes import Clock

SOON_S = 30.0  # a bound for waiting, never a measure


class Stuck:
    """A tool whose thread waits until it is interrupted, like one that reads from a dead server."""

    made = 0
    closed = 0

    def __init__(self) -> None:
        self.let_go = threading.Event()
        type(self).made += 1

    def interrupt(self) -> None:
        self.let_go.set()

    def close(self) -> None:
        type(self).closed += 1


@pytest.fixture
def tools() -> type[Stuck]:
    class Own(Stuck):
        pass

    return Own


def later() -> Deadline:
    return Deadline(time.monotonic() + SOON_S)


def wait(tool: Stuck, deadline: Deadline) -> float:
    assert tool.let_go.wait(SOON_S)
    tool.let_go.clear()
    return deadline.remaining()


def test_threads_are_started_as_they_are_needed(tools: type[Stuck]) -> None:
    workers = Workers(3, tools, "test")
    for _ in range(5):
        assert workers.submit(lambda _tool, _deadline: 1, later()).future.result(SOON_S) == 1
    assert tools.made <= 2, "an idle thread is used again"
    jobs = [workers.submit(wait, later()) for _ in range(5)]
    while jobs:
        for job in jobs:
            job.abandon()
        jobs = [job for job in jobs if not job.future.done()]
    assert tools.made == 3
    workers.close()
    assert tools.closed == 3


def test_an_abandoned_job_frees_its_thread_at_once(tools: type[Stuck]) -> None:
    workers = Workers(1, tools, "test")
    stuck = workers.submit(wait, later())
    while not stuck.future.running():
        time.sleep(0.001)
    behind = workers.submit(lambda _tool, _deadline: "answered", later())
    stuck.abandon()
    assert behind.future.result(SOON_S) == "answered"
    assert stuck.future.result(SOON_S) == 0.0, "an abandoned job has no time left"
    workers.close()


def test_a_deadline_has_no_time_left_when_it_is_over_or_nobody_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(workers_module, "time", SimpleNamespace(monotonic=clock))
    deadline = Deadline(clock.now + 5)
    assert deadline.remaining() == 5
    clock.now += 9
    assert deadline.remaining() == 0
    clock.now -= 9
    deadline.abandon()
    assert deadline.remaining() == 0


def answering(_tool: Stuck, _deadline: Deadline) -> str:
    return "answered"


def failing(_tool: Stuck, _deadline: Deadline) -> str:
    raise Fault("timeout", "late")


def test_a_job_that_was_called_off_before_its_turn_is_not_run() -> None:
    asked: list[Stuck] = []
    for refused in (False, True):
        job: Job[Stuck, None] = Job(lambda tool, _deadline: asked.append(tool), later())
        assert job.future.cancel()
        if refused:
            job.refuse()
        else:
            job.run(Stuck())
        assert job.future.cancelled()
    assert asked == []


@pytest.mark.parametrize("question", [answering, failing])
def test_only_a_tool_in_use_is_interrupted(question: Callable[[Stuck, Deadline], str]) -> None:
    """Before the job and from its answer on it is somebody else's."""
    tool, job = Stuck(), Job(question, later())
    job.abandon()
    job.future.add_done_callback(lambda _: job.abandon())
    job.run(tool)
    job.abandon()
    assert not tool.let_go.is_set()


def test_an_exception_is_the_future_s(tools: type[Stuck]) -> None:
    workers = Workers(1, tools, "test")

    def broken(_tool: Stuck, _deadline: Deadline) -> None:
        raise Fault("timeout", "late")

    with pytest.raises(Fault, match="late"):
        workers.submit(broken, later()).future.result(SOON_S)
    assert workers.submit(lambda _tool, _deadline: 1, later()).future.result(SOON_S) == 1
    workers.close()


def test_an_answer_is_kept_by_nobody_but_who_asked(tools: type[Stuck]) -> None:
    class Answer:
        pass

    workers = Workers(1, tools, "test")
    job = workers.submit(lambda _tool, _deadline: Answer(), later())
    kept = weakref.ref(job.future.result(SOON_S))
    workers.submit(answering, later()).future.result(SOON_S)  # the thread has gone on
    del job
    gc.collect()
    assert kept() is None
    workers.close()


def test_a_thread_that_nothing_interrupts_holds_up_no_end() -> None:
    class Deaf(Stuck):
        def interrupt(self) -> None: ...

    deaf = Deaf()
    workers = Workers(1, lambda: deaf, "deaf")
    stuck = workers.submit(wait, later())
    while not stuck.future.running():
        time.sleep(0.001)
    [thread] = [one for one in threading.enumerate() if one.name == "deaf-0"]
    assert thread.daemon, "nor that of the process"
    release = threading.Timer(9, deaf.let_go.set)
    release.start()
    began = time.monotonic()
    workers.close()
    took_s = time.monotonic() - began
    release.cancel()
    deaf.let_go.set()
    assert stuck.future.result(SOON_S) == 0
    assert took_s < 5


def test_close_ends_running_and_waiting_jobs_and_every_thread(tools: type[Stuck]) -> None:
    before = threading.active_count()
    workers = Workers(2, tools, "test")
    jobs = [workers.submit(wait, later()) for _ in range(6)]
    while sum(job.future.running() for job in jobs) < 2:
        time.sleep(0.001)
    workers.close()
    workers.close()
    ends = [job.future.exception(SOON_S) for job in jobs]
    assert [end is None for end in ends] == [True, True, False, False, False, False]
    assert all(isinstance(end, Fault) and end.error_type == "closed" for end in ends[2:])
    give_up = time.monotonic() + SOON_S
    while threading.active_count() > before:
        assert time.monotonic() < give_up
        time.sleep(0.001)
    with pytest.raises(Fault, match="closed"):
        workers.submit(wait, later())
