"""Rewrite one JSON file again and again, piece by piece, as json.dump does."""

import json
import sys

path, me, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for number in range(rounds):
    items = [{"id": item, "writer": me, "round": number} for item in range(600 + 40 * me)]
    with open(path, "w") as file:
        json.dump({"writer": me, "items": items}, file, indent=1)
