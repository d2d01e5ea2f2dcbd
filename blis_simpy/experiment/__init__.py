"""Experiments: many runs of one or several scenarios, and conclusions with a stated confidence.

Users call `replications` (one scenario, many seeds), `comparison` (several scenarios, same traffic), `sweep` (many
settings) and `capacity` (the largest rate, or the fewest replicas, that meets a service level). `runner` simulates on
one of the `executors`, `measurement` reduces a run to its metrics, `store` keeps them; `intervals`, `paired_tests` and
`best_selection` evaluate them.
"""
