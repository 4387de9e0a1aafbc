"""Read a number from a file, write it back one higher, many times: read-modify-write with open('r+')."""

import sys

path, times = sys.argv[1], int(sys.argv[2])
for _ in range(times):
    with open(path, "r+") as file:
        count = int(file.read() or 0)
        file.seek(0)
        file.write(f"{count + 1:08d}\n")
