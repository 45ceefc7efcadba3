"""Who is let in, with a clock of its own."""

import contextlib

import pytest

from memefly.errors import BusyError
from memefly.serving import admission
from memefly.serving.admission import Admission


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(admission, "time", clock)
    return clock


def answer(one: Admission, clock, seconds: float, count: int = 1) -> None:
    with one.place(count) as place:
        place.asked = count
        clock.now += seconds
        place.answered = count


def test_who_would_wait_longer_than_it_is_worth_is_turned_away(clock):
    one = Admission(most=64, patience=2.0)
    answer(one, clock, 0.2)
    assert one.wait == 0
    with one.place(1), one.place(1):
        assert one.wait == pytest.approx(0.4)
        # Who waits for two waits as long as he may.
        with one.place(1), pytest.raises(BusyError, match=r"3 pictures are waiting already, for 0\.6 s or so"):
            one.check()
    one.check()


def test_whatever_is_asked_of_one_who_is_idle_is_let_in(clock):
    one = Admission(most=16, patience=2.0)
    answer(one, clock, 10.0)
    one.check(16)
    with pytest.raises(BusyError, match="0 pictures"):
        one.check(17)


def test_a_model_that_batches_better_under_load_lets_more_in(clock):
    """Three at a time in 0.24 s, where one alone takes 0.2."""
    one = Admission(most=64, patience=2.0)
    answer(one, clock, 0.2)
    for _ in range(60):
        with contextlib.ExitStack() as together:
            places = [together.enter_context(one.place(1)) for _ in range(3)]
            clock.now += 0.24
            for place in places:
                place.answered = 1
    with one.place(4):
        assert one.wait == pytest.approx(4 * 0.08, rel=0.15)
        one.check()
    with one.place(6), pytest.raises(BusyError):
        one.check()


def test_what_nobody_minds_and_what_was_refused_do_not_count(clock):
    """A model of a millisecond turns nobody away who has to wait for ten; pictures that are none say nothing of it."""
    one = Admission(most=64, patience=2.0)
    answer(one, clock, 0.001)
    with one.place(40):
        one.check()
    slow = Admission(most=64, patience=2.0)
    answer(slow, clock, 0.2)
    for _ in range(50):
        with slow.place(1):
            clock.now += 0.001
    with slow.place(3), pytest.raises(BusyError):
        slow.check()


def test_the_pauses_of_those_who_ask_are_no_time_of_the_model(clock):
    one = Admission(most=64, patience=2.0)
    for _ in range(20):
        answer(one, clock, 0.2)
        clock.now += 60.0
    with one.place(1):
        assert one.wait == pytest.approx(0.2)


def test_without_patience_only_the_number_counts(clock):
    one = Admission(most=3)
    answer(one, clock, 100.0)
    with one.place(2):
        one.check()
        with pytest.raises(BusyError, match="2 pictures are waiting already; try again"):
            one.check(2)


def test_who_takes_long_to_be_read_keeps_nobody_out(clock):
    """A bomb, on a machine that is slower than it was a moment ago."""
    one = Admission(most=3, patience=2.0)
    answer(one, clock, 0.1)
    with contextlib.ExitStack() as together:
        places = [together.enter_context(one.place(1)) for _ in range(3)]
        clock.now += 3.0
        for place in places:
            place.asked = place.answered = 1
    with one.place(1) as bomb:
        with pytest.raises(BusyError):
            one.check()  # it may be a picture as any other
        clock.now += 0.11  # longer than a whole picture takes
        one.check()
        bomb.asked = 1
        with pytest.raises(BusyError):
            one.check()
    with one.place(3):
        clock.now += 10
        with pytest.raises(BusyError, match="3 pictures"):
            one.check()  # for they have places all the same
