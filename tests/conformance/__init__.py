"""The conformance table: the same calls on a plain directory and on a mount, which must agree. Start at `case.py`."""
