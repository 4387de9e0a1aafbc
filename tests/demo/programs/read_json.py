"""Parse one JSON file in a loop until the file `stop` exists; print how often it was read, and how often in vain."""

import json
import os
import sys

path, stop = sys.argv[1], sys.argv[2]
reads = invalid = 0
while not os.path.exists(stop):
    reads += 1
    try:
        with open(path) as file:
            json.load(file)
    except ValueError:
        invalid += 1
print(reads, invalid)
