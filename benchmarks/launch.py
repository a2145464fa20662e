"""Runs one command and writes what it used, as JSON: exit code, CPU and wall seconds, peak memory.

    python -S benchmarks/launch.py USED.json COMMAND ...

Imports next to nothing: the peak of a child includes what its parent held when it was started. CPU seconds
include those of processes the command started and waited for; the peak is the largest of them.
"""

import json
import os
import sys
import time

started = time.monotonic()
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(child, 0)
with open(sys.argv[1], "w") as file:
    json.dump(
        {
            "exit_code": os.waitstatus_to_exitcode(status),
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "wall_s": time.monotonic() - started,
            "peak_mb": usage.ru_maxrss / 1024,
        },
        file,
    )
