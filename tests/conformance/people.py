"""Who acts in a case: root, the owner of the files, a member of the owner's group, and somebody else."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Person:
    """A user with a primary group and supplementary ones."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    @property
    def is_me(self) -> bool:
        """Whether the tests can act as this one without changing their user."""
        return (self.uid, self.gid) == (os.geteuid(), os.getegid())


AS_ROOT = os.geteuid() == 0

STAFF = 1301
"""The owner's group, of which the member is one by a supplementary group."""

ROOT = Person("root", 0, 0)
OWNER = Person("owner", 1201, STAFF, (1401,)) if AS_ROOT else Person("owner", os.geteuid(), os.getegid())
"""Owns what a case sets up, unless it says otherwise. Without root the tests' own user takes this part."""
MEMBER = Person("member", 1202, 1302, (STAFF,))
OTHER = Person("other", 1203, 1303)

EVERYBODY = (ROOT, OWNER, MEMBER, OTHER)
