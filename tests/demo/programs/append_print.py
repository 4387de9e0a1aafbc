"""Append rows with print: the ordinary way to write a log or a result file."""

import sys

path, me, rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with open(path, "a") as file:
    for row in range(rows):
        pad = chr(ord("a") + me) * (10_000 + (row * 977 + me * 131) % 10_000)
        print(me, row, pad, row, file=file)
