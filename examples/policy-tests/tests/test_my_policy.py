"""What the router is there for, and what it must not cost."""

from my_policies import StickyTenant


def test_first_tokens_come_sooner_than_with_round_robin(policy_experiment, scenario):
    outcome = policy_experiment(
        baseline=scenario.with_(router="round-robin"),
        candidate=scenario.with_(router=StickyTenant),
    )
    outcome.assert_lower("ttft_mean_ms", by=0.10)
    outcome.assert_higher("prefix_hit_rate", by=0.1, absolute=True)


def test_throughput_stays_what_it_was(policy_experiment, scenario):
    outcome = policy_experiment(
        baseline=scenario.with_(router="round-robin"),
        candidate=scenario.with_(router=StickyTenant),
    )
    outcome.assert_equivalent("requests_per_s", by=0.03)


def test_a_tenant_that_may_move_is_served_better_than_one_that_must_stay(policy_experiment, scenario):
    long_answers = scenario.with_(**{"workload.clients[0].output_distribution": 250})  # of the big tenant
    outcome = policy_experiment(
        {
            "stays": long_answers.with_(router=StickyTenant(slack=1_000_000)),
            "slack 4": long_answers.with_(router=StickyTenant(slack=4)),
            "slack 8": long_answers.with_(router=StickyTenant(slack=8)),
        },
        baseline="stays",
    )
    for name in ("slack 4", "slack 8"):
        outcome.assert_lower("e2e_mean_ms", by=0.10, confidence=0.99, candidate=name)


def test_a_small_tenant_keeps_its_replica_for_a_while(simulate, scenario):
    requests = simulate(scenario.with_(router=StickyTenant)).requests
    replicas = requests["replica"][requests["tenant"] == "small-3"]
    moves = (replicas[1:] != replicas[:-1]).sum()
    assert moves < len(replicas) / 2
