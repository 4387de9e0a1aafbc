"""lockfs: a FUSE filesystem that lets one writer at a time have a file."""

__version__ = "0.1.0"
