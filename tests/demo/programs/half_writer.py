"""Write half of a file, say so, and go on only when a line comes in."""

import sys

with open(sys.argv[1], "w") as file:
    file.write("the new content, line 1\n" * 500)
    file.flush()
    print("half", flush=True)
    sys.stdin.readline()
    file.write("the new content, line 2\n" * 500)
