"""Print the mutation score of each module, and the surviving mutants, of a session of Cosmic Ray that has run."""

from __future__ import annotations

import sys
from collections import Counter

from cosmic_ray.work_db import WorkDB, use_db

with use_db(sys.argv[1], WorkDB.Mode.open) as session:
    modules = {item.job_id: str(item.mutations[0].module_path) for item in session.work_items}
    results = dict(session.results)

drawn = Counter(modules[job] for job in results)
survivors = sorted(job for job, result in results.items() if not result.is_killed)
survived = Counter(modules[job] for job in survivors)
for job in sorted(survivors, key=modules.__getitem__):
    print(results[job].diff)
for module in sorted(drawn):
    print(f"{module}: {drawn[module] - survived[module]} of {drawn[module]} killed")
print(f"all: {drawn.total() - survived.total()} of {drawn.total()} killed")
