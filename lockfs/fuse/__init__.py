"""The only room that knows pyfuse3."""
