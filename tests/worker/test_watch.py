"""A worker that no longer consumes is noticed; one that has nothing to do is not."""

from worker.watch import DeafnessWatch


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_messages_that_wait_unheard_for_a_minute_mean_deafness() -> None:
    time = Time()
    watch = DeafnessWatch(lambda: True, clock=time)
    time.now = 59
    assert not watch.is_deaf()
    time.now = 61
    assert watch.is_deaf()


def test_whoever_hears_is_not_deaf() -> None:
    time = Time()
    watch = DeafnessWatch(lambda: True, clock=time)
    for _ in range(10):
        time.now += 50
        watch.note_received()
        assert not watch.is_deaf()


def test_silence_without_messages_is_not_deafness() -> None:
    time = Time()
    waiting = False
    watch = DeafnessWatch(lambda: waiting, clock=time)
    time.now = 1_000
    assert not watch.is_deaf()
    waiting = True
    time.now += 59
    assert not watch.is_deaf()
    time.now += 2
    assert watch.is_deaf()
