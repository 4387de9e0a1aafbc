"""The demonstration: what unmodified programs do to each other's files on a plain directory, and on a mount."""
