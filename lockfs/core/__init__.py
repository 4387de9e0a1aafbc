"""The decisions: pure, synchronous, without I/O, clock or logging."""
