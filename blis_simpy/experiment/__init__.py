"""Experiments: many runs of a scenario or of several, and what can be said of them with which confidence.

`replications` (one scenario, many seeds), `comparison` (several under the same traffic), `sweep` (other settings) and
`capacity` (how much, or with how little) are what users call. They ask `running` for runs, which `measuring` boils down
to a few numbers and `store` keeps; `statistics` and `selection` judge them.
"""
