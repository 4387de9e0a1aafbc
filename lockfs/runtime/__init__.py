"""The trio shell: turns decisions of the core into effects of the store."""
