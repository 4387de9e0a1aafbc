"""What the tests share: mounts, worker processes, bounded waiting. Nothing here imports lockfs."""
