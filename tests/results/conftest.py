"""Runs that can be checked by hand."""

from small_runs import alike, cluster, nothing, preempted, three, unserved  # noqa: F401
