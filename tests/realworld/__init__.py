"""Real programs in a directory, with real checks of what they leave there: `scripts/realworld DIR`."""
