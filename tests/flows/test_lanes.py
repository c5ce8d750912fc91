"""Which task next: no more network reads in flight than allowed, every task exactly once, a retry never before its time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipelines.lanes import Lanes
from pipelines.plan import Task

TASKS = st.lists(st.booleans(), max_size=40)


def named(remote: list[bool]) -> list[Task]:
    return [Task(f"{'net' if r else 'own'}{i}", "mark") for i, r in enumerate(remote)]


@given(TASKS, st.integers(1, 4), st.integers(1, 8), st.randoms(use_true_random=False))
def test_the_network_lane_is_never_overfull_and_nothing_is_lost_or_done_twice(remote, reads_at_once, window, chance):
    """Tasks end in any order, some are tried again: at every moment the lane holds its limit; in the end each was done once."""
    tasks = named(remote)
    lanes = Lanes(tasks, lambda key: key.startswith("net"), reads_at_once=reads_at_once)
    in_flight: list[Task] = []
    done: list[Task] = []
    tries: dict[str, int] = {}
    now = 0.0
    while lanes or in_flight:
        while len(in_flight) < window and (task := lanes.take(now)):
            in_flight.append(task)
        reading = sum(t.key.startswith("net") for t in in_flight)
        assert reading == lanes.reading <= reads_at_once
        if in_flight:
            task = in_flight.pop(chance.randrange(len(in_flight)))
            lanes.ended(task)
            tries[task.key] = tries.get(task.key, 0) + 1
            if tries[task.key] < 3 and chance.random() < 0.3:
                lanes.again(task, now + chance.uniform(0, 5))
            else:
                done.append(task)
        else:
            assert lanes.next_time is not None and lanes.next_time > now  # only what waits is left
            now = lanes.next_time
        now += 0.1
    assert sorted(done) == sorted(tasks) and lanes.reading == 0


@given(st.integers(1, 10), st.integers(1, 4))
def test_a_full_network_lane_does_not_hold_up_the_others(local, reads_at_once):
    """With every place of the lane taken, all local tasks can still start."""
    lanes = Lanes(named([True] * 10 + [False] * local), lambda key: key.startswith("net"), reads_at_once=reads_at_once)
    started = [task.key for task in iter(lambda: lanes.take(0.0), None)]
    assert sum(key.startswith("net") for key in started) == min(reads_at_once, 10)
    assert sum(key.startswith("own") for key in started) == local


def test_a_task_tried_again_waits_for_its_time_and_nobody_waits_for_it():
    """The others start at once; it starts when its time has come, before those that never started."""
    first, second, third = tasks = named([False] * 3)
    lanes = Lanes(tasks, lambda key: False, reads_at_once=1)
    assert lanes.take(0) == first
    lanes.ended(first)
    lanes.again(first, 10)
    assert lanes.take(1) == second and lanes.next_time == 10
    assert lanes.take(10) == first and lanes.take(10) == third and lanes.take(10) is None and not lanes
