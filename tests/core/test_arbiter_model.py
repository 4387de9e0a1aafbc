"""The arbiter against a naive model: plain lists, everything searched for by brute force (Q4, Q5, F1, A6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lockfs.core.arbiter import Arbiter, Granted, Kind, Queued, Refused
from lockfs.core.errors import Conflict, WaitCycle
from lockfs.core.ids import FileKey, HandleId, Lineage, WriterId

KEYS = [FileKey(n) for n in range(3)]
INIT = WriterId(1, 0)
# Two families of several generations, and two processes that stand alone.
PARENTS = {2: 1, 3: 2, 4: 3, 5: 2, 6: 1, 7: 6, 8: 1, 9: 1}


@dataclass
class Request:
    key: FileKey
    handle: HandleId
    kind: Kind
    lineage: Lineage

    @property
    def writer(self) -> WriterId:
        return self.lineage[0]


@dataclass
class Naive:
    """Two lists, in the order of asking or granting; an owner for each pen."""

    held: list[Request] = field(default_factory=list)
    queue: list[Request] = field(default_factory=list)
    owners: dict[FileKey, WriterId] = field(default_factory=dict)
    admitted: dict[FileKey, set[WriterId]] = field(default_factory=dict)
    """Who was granted something since the key was last free."""

    def holders(self, key: FileKey) -> set[WriterId]:
        """Whose ends the waiters of a pen wait for."""
        if key not in self.owners:
            return set()
        return {self.owners[key]} | {r.writer for r in self.held if r.key == key}

    def is_family(self, key: FileKey, lineage: Lineage) -> bool:
        return bool(self.holders(key) & set(lineage))

    def is_held(self, key: FileKey) -> bool:
        return any(r.key == key for r in self.held)

    def waiting(self, key: FileKey) -> list[Request]:
        return [r for r in self.queue if r.key == key]

    def cyclic_keys(self, waits: Sequence[Request]) -> set[FileKey]:
        """The keys from which a way leads back to themselves, by the transitive closure."""
        leads = {(k, w.key) for k in KEYS for w in waits if w.key in self.owners and self.is_family(k, w.lineage)}
        for _ in KEYS:
            leads |= {(a, d) for a, b in leads for c, d in leads if b == c}
        return {a for a, b in leads if a == b}

    def would_wait(self, r: Request) -> bool:
        if self.is_family(r.key, r.lineage):
            return False
        if r.kind is Kind.PEN:
            return self.is_held(r.key)
        return r.key in self.owners or bool(self.waiting(r.key))

    def grant(self, r: Request) -> Granted:
        joined = self.is_family(r.key, r.lineage)
        admitted = self.admitted.setdefault(r.key, set())
        assert not joined or admitted & set(r.lineage), "a stranger joined"
        admitted.add(r.writer)
        self.held.append(r)
        if r.kind is Kind.PEN and not joined:
            assert r.key not in self.owners, "two families with one pen"
            self.owners[r.key] = r.writer
        return Granted(r.handle, joined)

    def settle(self, key: FileKey) -> list[Granted]:
        """Grant whoever can be: the head of the queue, and anybody's family."""
        done: list[Granted] = []
        while True:
            line = self.waiting(key)
            head = line[:1]
            able = [r for r in line if self.is_family(key, r.lineage)] or [
                r for r in head if key not in self.owners and (r.kind is Kind.APPEND or not self.is_held(key))
            ]
            if not able:
                return done
            self.queue.remove(able[0])
            done.append(self.grant(able[0]))

    def give_back(self, handle: HandleId) -> FileKey:
        r = next(r for r in self.held if r.handle == handle)
        self.held.remove(r)
        if not self.is_held(r.key):
            self.owners.pop(r.key, None)
            self.admitted.pop(r.key, None)
        return r.key


class ArbiterMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.arbiter = Arbiter()
        self.naive = Naive()
        self.parents = dict(PARENTS)
        self.handles = 0
        self.now_s = 0.0

    def lineage(self, pid: int) -> Lineage:
        chain = [WriterId(pid, pid)]
        while (pid := self.parents[pid]) != 1:
            chain.append(WriterId(pid, pid))
        return (*chain, INIT)

    def snapshot(self) -> str:
        arbiter = self.arbiter
        files = {k: (f.owner, f.handles, f.members, f.since_s, list(f.queue)) for k, f in arbiter._files.items()}
        return repr((files, arbiter._held, arbiter._waits, arbiter._family))

    def took(self, key: FileKey, results: list[Granted | Refused]) -> None:
        """Compare what a release or withdrawal returned with what the model does."""
        expected = self.naive.settle(key)
        granted = [r for r in results if isinstance(r, Granted)]
        refused = [r for r in results if isinstance(r, Refused)]
        assert list(results) == [*granted, *refused]
        assert granted[:1] == expected[:1]
        assert [g for g in granted if not g.joined] == [g for g in expected if not g.joined]
        assert {g.handle for g in granted} == {g.handle for g in expected}
        for refusal in refused:
            order = [w.handle for w in self.naive.queue].index(refusal.handle)
            wait = self.naive.queue[order]
            # It closed a cycle: with it and older waits there is one, without it there is not that one.
            assert wait.key in self.naive.cyclic_keys(self.naive.queue[: order + 1])
            assert refusal.reason.key == wait.key
            assert refusal.reason.holder == self.naive.owners[wait.key]
            self.naive.queue.remove(wait)

    @initialize(pairs=st.lists(st.tuples(st.sampled_from(list(PARENTS)), st.sampled_from(KEYS)), max_size=3))
    def begin_with_pens(self, pairs: list[tuple[int, FileKey]]) -> None:
        """Get to where somebody waits sooner."""
        for pid, key in pairs:
            self.acquire(key, pid, Kind.PEN, wait=True)

    @rule(
        key=st.sampled_from(KEYS),
        pid=st.sampled_from(list(PARENTS)),
        kind=st.sampled_from([Kind.PEN, Kind.PEN, Kind.APPEND]),
        wait=st.sampled_from([True, True, True, False]),
    )
    def acquire(self, key: FileKey, pid: int, kind: Kind, wait: bool) -> None:
        self.handles += 1
        self.now_s += 1
        r = Request(key, HandleId(self.handles), kind, self.lineage(pid))
        naive = self.naive
        before = self.snapshot()
        got: Granted | Queued | Conflict | WaitCycle
        try:
            got = self.arbiter.acquire(key, r.handle, kind, r.lineage, self.now_s, wait=wait)
        except (Conflict, WaitCycle) as fact:
            got = fact
            assert self.snapshot() == before
        if not naive.would_wait(r):
            assert got == naive.grant(r)
        elif not wait:
            assert isinstance(got, Conflict)
            assert (got.key, got.holder) == (key, naive.owners.get(key))
            assert got.waiting == len(naive.waiting(key))
        elif naive.cyclic_keys([*naive.queue, r]):
            assert isinstance(got, WaitCycle)
            assert (got.key, got.holder) == (key, naive.owners[key])
        else:
            naive.queue.append(r)
            assert got == Queued(len(naive.waiting(key)), naive.owners.get(key))

    @precondition(lambda self: self.naive.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        handle = data.draw(st.sampled_from([r.handle for r in self.naive.held]))
        self.now_s += 1
        results = self.arbiter.release(handle, self.now_s)
        self.took(self.naive.give_back(handle), results)

    @precondition(lambda self: self.naive.queue)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        r = data.draw(st.sampled_from(self.naive.queue))
        self.now_s += 1
        results = self.arbiter.withdraw(r.handle, self.now_s)
        self.naive.queue.remove(r)
        self.took(r.key, results)

    @precondition(lambda self: self.naive.held or self.naive.queue)
    @rule(data=st.data())
    def misuse(self, data: st.DataObject) -> None:
        """Whatever is wrong with a call, it changes nothing."""
        before = self.snapshot()
        holders = [r.handle for r in self.naive.held]
        waiters = [r.handle for r in self.naive.queue]
        known = data.draw(st.sampled_from(holders + waiters))
        calls = [
            lambda: self.arbiter.acquire(KEYS[0], known, Kind.PEN, (INIT,), 0.0, wait=True),
            lambda: self.arbiter.acquire(KEYS[0], HandleId(-1), Kind.PEN, (), 0.0, wait=True),
            lambda: self.arbiter.release(HandleId(-1), 0.0),
            lambda: self.arbiter.withdraw(HandleId(-1), 0.0),
            lambda: (self.arbiter.withdraw if known in holders else self.arbiter.release)(known, 0.0),
        ]
        for call in calls:
            try:
                call()
            except (KeyError, ValueError):
                assert self.snapshot() == before
            else:
                raise AssertionError("accepted")

    @rule(pid=st.sampled_from(list(PARENTS)))
    def parent_exits(self, pid: int) -> None:
        self.parents[pid] = 1

    @invariant()
    def Q5_same_holders_and_same_order_of_waiters(self) -> None:
        for key in KEYS:
            hold = self.arbiter.holder(key)
            assert (hold.owner if hold else None) == self.naive.owners.get(key)
            if hold:
                assert hold.handles == {r.handle for r in self.naive.held if r.key == key}
            assert [w.handle for w in self.arbiter.waiting(key)] == [r.handle for r in self.naive.waiting(key)]
        assert {h.key for h in self.arbiter.holds()} == set(self.naive.owners)
        assert [w.handle for w in self.arbiter.waits()] == [r.handle for r in self.naive.queue]

    @invariant()
    def W1_one_family_has_the_pen(self) -> None:
        """Whoever joined did so as family (`Naive.grant`), also if the one it came by has left since."""
        for key, owner in self.naive.owners.items():
            assert {owner, *(r.writer for r in self.naive.held if r.key == key)} <= self.naive.admitted[key]

    @invariant()
    def Q4_no_cycle_among_the_waiting(self) -> None:
        assert not self.naive.cyclic_keys(self.naive.queue)

    @invariant()
    def Q5_nobody_waits_who_could_go_on(self) -> None:
        for key in KEYS:
            for place, r in enumerate(self.naive.waiting(key)):
                assert not self.naive.is_family(key, r.lineage)
                assert self.naive.is_held(key)
                if place == 0 and r.kind is Kind.APPEND:
                    assert key in self.naive.owners

    @invariant()
    def A6_blocks_append_agrees(self) -> None:
        for key in KEYS:
            for pid in PARENTS:
                lineage = self.lineage(pid)
                ask = Request(key, HandleId(-1), Kind.APPEND, lineage)
                assert self.arbiter.blocks_append(key, lineage) == self.naive.would_wait(ask)
                assert self.arbiter.is_family(key, lineage) == self.naive.is_family(key, lineage)

    @invariant()
    def nothing_is_kept_of_who_is_gone(self) -> None:
        arbiter = self.arbiter
        assert set(arbiter._files) == {r.key for r in self.naive.held + self.naive.queue}
        assert set(arbiter._held) == {r.handle for r in self.naive.held}
        index = {
            (w, k, h) for w, by_key in arbiter._family.items() for k, waits in by_key.items() for h in waits or [None]
        }
        assert index == {(w, r.key, r.handle) for r in self.naive.queue for w in r.lineage}
        assert all(arbiter._family.values())
        for key, file in arbiter._files.items():
            assert set(file.members) == self.naive.holders(key)

    def teardown(self) -> None:
        """Q4: whatever happened, releasing one by one lets everybody through."""
        while self.naive.held:
            handle = self.naive.held[0].handle
            self.took(self.naive.give_back(handle), self.arbiter.release(handle, self.now_s))
        assert not self.naive.queue
        assert not self.arbiter._files


TestArbiterAgainstNaiveModel = pytest.mark.limit(240)(ArbiterMachine.TestCase)  # it computes all the time
TestArbiterAgainstNaiveModel.settings = settings(
    max_examples=200,
    stateful_step_count=40,
    deadline=None,
    phases=[Phase.reuse, Phase.generate, Phase.shrink],  # explaining a failure takes minutes
)
