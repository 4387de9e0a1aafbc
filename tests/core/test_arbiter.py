"""The arbiter, promise by promise. Processes are numbers; a lineage is written with the process first."""

from __future__ import annotations

import time

import pytest

from lockfs.core.arbiter import Arbiter, Granted, Kind, Queued, Refused
from lockfs.core.errors import Conflict, WaitCycle
from lockfs.core.ids import FileKey, HandleId, Lineage, WriterId

F, G, K = FileKey(1), FileKey(2), FileKey(3)


def who(*pids: int) -> Lineage:
    return tuple(WriterId(pid, 0) for pid in (*pids, 1))


class Desk:
    """An arbiter, with less to write."""

    def __init__(self) -> None:
        self.arbiter = Arbiter()
        self.last = 0

    def ask(
        self, key: FileKey, *pids: int, kind: Kind = Kind.PEN, wait: bool = True
    ) -> tuple[HandleId, Granted | Queued]:
        self.last += 1
        handle = HandleId(self.last)
        return handle, self.arbiter.acquire(key, handle, kind, who(*pids), float(self.last), wait=wait)

    def get(self, key: FileKey, *pids: int, kind: Kind = Kind.PEN, joined: bool = False) -> HandleId:
        handle, got = self.ask(key, *pids, kind=kind)
        assert got == Granted(handle, joined)
        return handle

    def queue(self, key: FileKey, *pids: int, kind: Kind = Kind.PEN) -> HandleId:
        handle, got = self.ask(key, *pids, kind=kind)
        assert isinstance(got, Queued)
        return handle

    def release(self, handle: HandleId) -> list[Granted | Refused]:
        return self.arbiter.release(handle, 99.0)

    def withdraw(self, handle: HandleId) -> list[Granted | Refused]:
        return self.arbiter.withdraw(handle, 99.0)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_Q5_pen_goes_in_the_order_of_asking(desk: Desk) -> None:
    first = desk.get(F, 10)
    second, got = desk.ask(F, 11)
    assert got == Queued(1, WriterId(10, 0))
    third, got = desk.ask(F, 12)
    assert got == Queued(2, WriterId(10, 0))
    assert desk.release(first) == [Granted(second, joined=False)]
    assert desk.release(second) == [Granted(third, joined=False)]
    assert desk.release(third) == []


def test_Q1_conflict_names_the_holder_and_changes_nothing(desk: Desk) -> None:
    held = desk.get(F, 10)
    desk.queue(F, 11)
    with pytest.raises(Conflict) as caught:
        desk.ask(F, 12, wait=False)
    fact = caught.value
    assert (fact.key, fact.holder, fact.since_s, fact.waiting) == (F, WriterId(10, 0), float(held), 1)
    assert len(desk.arbiter.waiting(F)) == 1


def test_Q1_who_must_not_wait_gets_conflict_never_cycle(desk: Desk) -> None:
    desk.get(F, 10)
    desk.get(G, 11)
    desk.queue(G, 10)
    with pytest.raises(Conflict):
        desk.ask(F, 11, wait=False)


def test_Q4_two_writers_that_want_each_others_file(desk: Desk) -> None:
    desk.get(F, 10)
    desk.get(G, 11)
    desk.queue(G, 10)
    with pytest.raises(WaitCycle) as caught:
        desk.ask(F, 11)
    assert (caught.value.key, caught.value.holder) == (F, WriterId(10, 0))
    assert [w.writer.pid for w in desk.arbiter.waits()] == [10]


def test_Q4_cycle_over_three_files(desk: Desk) -> None:
    for key, pid in ((F, 10), (G, 11), (K, 12)):
        desk.get(key, pid)
    desk.queue(G, 10)
    desk.queue(K, 11)
    with pytest.raises(WaitCycle):
        desk.ask(F, 12)


def test_Q4_a_waiting_child_makes_its_parent_stuck(desk: Desk) -> None:
    desk.get(F, 10)
    desk.get(G, 11)
    desk.queue(G, 20, 10)
    with pytest.raises(WaitCycle):
        desk.ask(F, 21, 11)


def test_Q4_cycle_made_by_a_grant_refuses_the_open_that_closed_it(desk: Desk) -> None:
    held = desk.get(K, 9)
    desk.get(G, 11)
    x = desk.queue(K, 10)
    child = desk.queue(G, 20, 10)
    p = desk.queue(K, 11)
    granted, refused = desk.release(held)
    assert granted == Granted(x, joined=False)
    assert isinstance(refused, Refused)
    assert refused.handle == p
    assert (refused.reason.key, refused.reason.holder) == (K, WriterId(10, 0))
    assert [w.handle for w in desk.arbiter.waits()] == [child]
    with pytest.raises(KeyError):
        desk.withdraw(p)


def test_Q4_cycle_made_by_a_grant_refuses_the_child_if_it_came_last(desk: Desk) -> None:
    held = desk.get(K, 9)
    desk.get(G, 11)
    x = desk.queue(K, 10)
    p = desk.queue(K, 11)
    child = desk.queue(G, 20, 10)
    granted, refused = desk.release(held)
    assert granted == Granted(x, joined=False)
    assert isinstance(refused, Refused)
    assert refused.handle == child
    assert [w.handle for w in desk.arbiter.waits()] == [p]


def test_Q4_withdrawal_that_makes_an_owner_looks_for_cycles_too(desk: Desk) -> None:
    """A brief append holds K; who stood first gives up, and the queue goes on when the append ends."""
    append = desk.get(K, 9, kind=Kind.APPEND)
    desk.get(G, 11)
    first = desk.queue(K, 8)
    x = desk.queue(K, 10)
    desk.queue(G, 20, 10)
    p = desk.queue(K, 11)
    assert desk.withdraw(first) == []
    granted, refused = desk.release(append)
    assert granted == Granted(x, joined=False)
    assert isinstance(refused, Refused)
    assert refused.handle == p


def test_F1_descendants_join_whatever_the_queue_and_the_last_handle_frees(desk: Desk) -> None:
    first = desk.get(F, 10)
    stranger = desk.queue(F, 11)
    again = desk.get(F, 10, joined=True)
    child = desk.get(F, 30, 20, 10, joined=True)
    hold = desk.arbiter.holder(F)
    assert hold is not None
    assert (hold.owner, hold.handles) == (WriterId(10, 0), frozenset({first, again, child}))
    assert desk.release(first) == []
    assert desk.release(again) == []
    assert desk.get(F, 10, joined=True)  # the owner stays the owner, though it has no handle left
    assert desk.release(child) == []
    assert desk.release(HandleId(desk.last)) == [Granted(stranger, joined=False)]


def test_F1_ancestors_wait(desk: Desk) -> None:
    held = desk.get(F, 20, 10)
    parent = desk.queue(F, 10)
    assert desk.release(held) == [Granted(parent, joined=False)]


def test_F1_a_process_with_the_same_number_is_no_family(desk: Desk) -> None:
    desk.get(F, 10)
    _, got = desk.ask(F, 11)
    assert isinstance(got, Queued)
    reused = (WriterId(10, 5), WriterId(1, 0))
    assert isinstance(desk.arbiter.acquire(F, HandleId(50), Kind.PEN, reused, 0.0, wait=True), Queued)


def test_F1_who_joined_does_not_wait_for_itself_when_its_parent_is_gone(desk: Desk) -> None:
    desk.get(F, 10)
    desk.get(F, 20, 10, joined=True)
    desk.get(F, 20, joined=True)
    desk.get(F, 30, 20, joined=True)


def test_F1_new_owner_takes_its_family_along_from_anywhere_in_the_queue(desk: Desk) -> None:
    held = desk.get(F, 9)
    x = desk.queue(F, 10)
    stranger = desk.queue(F, 11)
    child = desk.queue(F, 20, 10, kind=Kind.APPEND)
    orphaned = desk.queue(F, 30, 20)  # asked after 20 had lost its parent
    assert desk.release(held) == [
        Granted(x, joined=False),
        Granted(child, joined=True),
        Granted(orphaned, joined=True),
    ]
    assert [w.handle for w in desk.arbiter.waiting(F)] == [stranger]


def test_A6_appends_share_and_keep_the_pen_out_only_while_they_hold(desk: Desk) -> None:
    a, b = (desk.get(F, pid, kind=Kind.APPEND) for pid in (10, 11))
    pen, got = desk.ask(F, 12)
    assert got == Queued(1, None)
    assert desk.release(a) == []
    assert desk.release(b) == [Granted(pen, joined=False)]


def test_Q5_appends_that_may_share_go_on_as_one(desk: Desk) -> None:
    held = desk.get(F, 9)
    a, b = (desk.queue(F, pid, kind=Kind.APPEND) for pid in (10, 11))
    pen = desk.queue(F, 12)
    late = desk.queue(F, 13, kind=Kind.APPEND)
    assert desk.release(held) == [Granted(a, joined=False), Granted(b, joined=False)]
    assert desk.release(a) == []
    assert desk.release(b) == [Granted(pen, joined=False)]
    assert desk.release(pen) == [Granted(late, joined=False)]


def test_Q5_withdrawn_pen_lets_the_appends_behind_it_share(desk: Desk) -> None:
    desk.get(F, 10, kind=Kind.APPEND)
    pen = desk.queue(F, 11)
    append = desk.queue(F, 12, kind=Kind.APPEND)
    assert desk.withdraw(pen) == [Granted(append, joined=False)]


def test_A6_blocks_append(desk: Desk) -> None:
    blocks = desk.arbiter.blocks_append
    assert not blocks(F, who(10))
    brief = desk.get(F, 9, kind=Kind.APPEND)
    assert not blocks(F, who(10))
    pen = desk.queue(F, 11)
    assert blocks(F, who(10))
    desk.release(brief)
    assert blocks(F, who(10))
    assert not blocks(F, who(11))
    assert not blocks(F, who(20, 11))
    desk.release(pen)
    assert not blocks(F, who(10))


def test_A6_append_of_the_owners_family_joins_its_pen(desk: Desk) -> None:
    pen = desk.get(F, 10)
    append = desk.get(F, 20, 10, kind=Kind.APPEND, joined=True)
    stranger = desk.queue(F, 11)
    assert desk.release(pen) == []
    assert desk.release(append) == [Granted(stranger, joined=False)]


def test_wrong_handles_are_refused(desk: Desk) -> None:
    held = desk.get(F, 10)
    waits = desk.queue(F, 11)
    for call in (
        lambda: desk.release(waits),
        lambda: desk.withdraw(held),
        lambda: desk.release(HandleId(77)),
        lambda: desk.withdraw(HandleId(77)),
    ):
        with pytest.raises(KeyError):
            call()
    for handle, lineage in ((held, who(12)), (waits, who(12)), (HandleId(78), ())):
        with pytest.raises(ValueError, match=r"handle|lineage"):
            desk.arbiter.acquire(G, handle, Kind.PEN, lineage, 0.0, wait=True)
    assert desk.arbiter.holder(G) is None


def test_Q2_cost_does_not_grow_with_the_queue(desk: Desk) -> None:
    """Ten times the waiters cost about ten times in all; were a hand-over linear, it would be a hundred."""

    def drain(count: int) -> float:
        desk = Desk()
        began = time.process_time()
        handles = [desk.ask(F, 1000 + n, 500, 400, 300)[0] for n in range(count)]
        for handle in handles:
            desk.release(handle)
        return time.process_time() - began

    small = min(drain(1000) for _ in range(3))
    assert min(drain(10_000) for _ in range(3)) < 40 * small
