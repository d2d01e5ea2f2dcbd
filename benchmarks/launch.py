"""Run a program and print what it took as JSON: CPU and wall seconds, peak memory.

A process inherits the peak memory of whoever starts it, so this one imports next to nothing. Run it with ``-I -S``.
"""

import json
import os
import sys
import time

start = time.perf_counter()
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
_, status, usage = os.wait4(child, 0)
wall = time.perf_counter() - start
unit = 1 if sys.platform == "darwin" else 1024
cost = {
    "cpu_s": usage.ru_utime + usage.ru_stime,
    "wall_s": wall,
    "peak_mib": usage.ru_maxrss * unit / 2**20,
}
sys.stdout.write(json.dumps(cost))
sys.exit(os.waitstatus_to_exitcode(status))
