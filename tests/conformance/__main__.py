"""`python -m tests.conformance`: the cases, the named differences and the counts."""

from __future__ import annotations

from tests.conformance.case import RULE_NAMES, load
from tests.conformance.named import NAMED
from tests.conformance.table import counted

for one in load().values():
    about = (one.function.__doc__ or "").strip().splitlines()[0]
    rules = ", ".join(RULE_NAMES[rule] for rule in one.each)
    print(f"{one.name} ({rules}; {', '.join(person.name for person in one.people)}): {about}")
    for difference in one.differs:
        print(f"    differs: {difference.named.name} ({difference.named.promise}) at {', '.join(difference.places)}")
for named in NAMED:
    print(f"{named.promise} {named.name}: {named.text}")
print(counted())
