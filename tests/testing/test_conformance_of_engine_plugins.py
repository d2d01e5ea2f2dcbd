"""For each rule of schedulers, priorities, batch policies and KV stores, a plug-in that breaks this rule alone."""

import itertools

import pytest
from broken_rules import assert_breaks, failures, rules_of

from blis_simpy.replica.batch_policies import ContinuousBatching
from blis_simpy.replica.kv_offload import TwoTier
from blis_simpy.replica.kv_store import SingleTier
from blis_simpy.testing import BatchPolicyTests, KVStoreTests, PriorityPolicyTests, SchedulerTests


class ShortestPrompt:
    def key(self, request, priority, now):
        return request.input_tokens, request.id


class Incomparable(ShortestPrompt):
    def key(self, request, priority, now):
        return request.input_tokens, request


class NotANumber(ShortestPrompt):
    def key(self, request, priority, now):
        return float("nan") if request.tenant else float(request.input_tokens)


class Alternates(ShortestPrompt):
    def __init__(self):
        self.count = 0

    def key(self, request, priority, now):
        self.count += 1
        return self.count


class Turns(ShortestPrompt):
    time_invariant = True

    def key(self, request, priority, now):
        return (request.arrived_at + now) % 7_000_003


class Renames(ShortestPrompt):
    def key(self, request, priority, now):
        request.slo_class = request.slo_class or "batch"
        return request.input_tokens


class ShortestOutput(ShortestPrompt):
    def key(self, request, priority, now):
        return request.output_tokens


EQUAL = "must give equal answers to equal questions"
CLOCK = "has time_invariant = True, so two waiting requests must keep their order"
OUTPUT = "must not use request.output_tokens, which no real engine knows (or set knows_output_length = True)"
SCHEDULERS = [
    (
        "test_keys_are_in_a_total_order",
        Incomparable,
        "any two keys must be comparable: end a key with the id of the request, not the request",
    ),
    ("test_keys_are_in_a_total_order", NotANumber, "keys must be in one order from smallest to largest"),
    ("test_the_same_request_at_the_same_tick_has_the_same_value", Alternates, EQUAL),
    ("test_order_does_not_change_with_the_clock_if_it_says_so", Turns, CLOCK),
    ("test_requests_are_left_unchanged", Renames, "must leave request.slo_class unchanged"),
    ("test_order_does_not_depend_on_the_planned_output", ShortestOutput, OUTPUT),
]


class Age:
    def score(self, request, now):
        return now - request.arrived_at


class Text(Age):
    def score(self, request, now):
        return str(request.arrived_at)


class Counts(Age):
    calls = itertools.count()

    def score(self, request, now):
        return next(self.calls)


class Deadline(Age):
    time_invariant = True

    def score(self, request, now):
        return int(0 < request.deadline <= now)


class Labels(Age):
    def score(self, request, now):
        request.slo_class = request.slo_class or "batch"
        return 0


class Output(Age):
    def score(self, request, now):
        return -request.output_tokens


PRIORITIES = [
    ("test_scores_are_numbers", Text, "score must return a number"),
    ("test_the_same_request_at_the_same_tick_has_the_same_value", Counts, EQUAL),
    ("test_order_does_not_change_with_the_clock_if_it_says_so", Deadline, CLOCK),
    ("test_requests_are_left_unchanged", Labels, "must leave request.slo_class unchanged"),
    ("test_order_does_not_depend_on_the_planned_output", Output, OUTPUT),
]


class OneAtATime:
    def form(self, step):
        for leg in step.running():
            step.grant(leg)
        if step.num_waiting and not step.running():
            step.admit()


class PrefillsFirst(ContinuousBatching):
    def form(self, step):
        running = step.running()
        while step.token_budget > 0 and step.num_waiting and step.free_slots > 0 and step.admit():
            pass
        for leg in running:
            if leg.batch_position >= 0 and not step.grant(leg):
                break


class AdmitsWithoutBudget(ContinuousBatching):
    def form(self, step):
        super().form(step)
        if step.num_waiting and step.free_slots > 0 and not step.num_preempted:
            step.admit()


class NoSlots(ContinuousBatching):
    def form(self, step):
        if not step.grant_all():
            super().form(step)
        elif step.token_budget > 0:
            step.admit()


class GrantsToPreempted(ContinuousBatching):
    def form(self, step):
        if not step.grant_all():
            for leg in step.running():
                if step.token_budget <= 0 or not step.grant(leg):
                    break
        if not step.num_preempted:
            while step.token_budget > 0 and step.num_waiting and step.free_slots > 0 and step.admit():
                pass


class Idle:
    def form(self, step):
        pass


class Sleeps(Idle):
    def is_steady(self, step):
        return True


class Restless(OneAtATime):
    calls = itertools.count()

    def form(self, step):
        if next(self.calls) % 7 or step.running():
            super().form(step)


class AlwaysSteady(ContinuousBatching):
    def is_steady(self, step):
        return step.num_decoding > 0


class PausesWhileSteady(ContinuousBatching):
    def form(self, step):
        if step.step % 5 or step.num_prefilling or not step.num_decoding:
            super().form(step)


BATCHING = [
    ("test_the_token_budget_is_kept", PrefillsFirst, "must grant no token once token_budget is used up"),
    ("test_the_token_budget_is_kept", AdmitsWithoutBudget, "must admit no request once token_budget is used up"),
    (
        "test_a_request_is_admitted_into_a_free_slot",
        NoSlots,
        "must admit a request only while one waits and a slot is free",
    ),
    (
        "test_tokens_are_granted_to_running_requests",
        GrantsToPreempted,
        "must grant tokens to running requests only (batch_position >= 0)",
    ),
    ("test_all_requests_are_served", Idle, "must serve all requests, within 5000 steps"),
    ("test_all_requests_are_served", Sleeps, "must serve all requests, within 5000 steps"),
    ("test_equal_runs_are_equal", Restless, "must decide alike in equal situations"),
    (
        "test_steady_steps_need_no_decision",
        AlwaysSteady,
        "form must only grant each decoding request its token after is_steady has returned True",
    ),
    (
        "test_steady_steps_need_no_decision",
        PausesWhileSteady,
        "form must only grant each decoding request its token after is_steady has returned True",
    ),
]
CASES = [
    *((SchedulerTests, *case) for case in SCHEDULERS),
    *((PriorityPolicyTests, *case) for case in PRIORITIES),
    *((BatchPolicyTests, *case) for case in BATCHING),
]


@pytest.mark.parametrize(("suite", "test", "plugin", "rule"), CASES)
def test_a_plugin_that_breaks_a_rule_fails_its_test_alone(suite, test, plugin, rule):
    assert_breaks(suite, test, lambda self: plugin(), f"{plugin.__name__}: {rule}")


@pytest.mark.parametrize(
    ("suite", "plugin"),
    [(SchedulerTests, ShortestPrompt), (PriorityPolicyTests, Age), (BatchPolicyTests, OneAtATime)],
)
def test_a_plugin_of_a_few_lines_passes(suite, plugin):
    assert failures(suite, lambda self: plugin()) == {}


def test_a_scheduler_may_know_the_output_if_the_suite_says_so():
    assert failures(SchedulerTests, lambda self: ShortestOutput(), knows_output_length=True) == {}


class CountsFailures(SingleTier):
    def take(self, blocks):
        taken = super().take(blocks)
        self.misses += not taken
        return taken


class TakesOneMore(SingleTier):
    spare = 0

    def extend(self, leg, end):
        extended = super().extend(leg, end)
        if extended and super().take(1):
            self.spare += 1
        return extended

    def release(self, leg, tokens, hashed):
        self._append_blocks(self.spare)
        self.pool.put_back(self.spare)
        self.spare = 0
        super().release(leg, tokens, hashed)


class KeepsTwo(SingleTier):
    def take(self, blocks):
        return blocks <= self.pool.free - 2 and super().take(blocks)


class AsksForTooMuch(SingleTier):
    extra = 1

    def blocks_to_admit(self, leg, prefix, end):
        return self.extra + super().blocks_to_admit(leg, prefix, end)

    def stays_blocked(self, leg, prefix, end, kept):
        return False

    def admit(self, leg, prefix, end):
        self.extra = 0
        admitted = super().admit(leg, prefix, end)
        self.extra = 1
        return admitted


class GivesUp(SingleTier):
    def stays_blocked(self, leg, prefix, end, kept):
        return self.pool.free < self.pool.capacity // 2


class Leaks(SingleTier):
    def release(self, leg, tokens, hashed):
        super().release(leg, tokens, hashed)
        super().take(1)


class NeverFull(SingleTier):
    def _is_too_long(self, leg):
        return leg.input_tokens > (self.pool.capacity - 1) * self.block_size

    def stays_blocked(self, leg, prefix, end, kept):
        return self._is_too_long(leg) or super().stays_blocked(leg, prefix, end, kept)

    def admit(self, leg, prefix, end):
        return not self._is_too_long(leg) and super().admit(leg, prefix, end)


class FindsAll(SingleTier):
    def cached_prefix(self, leg):
        leg.input_tokens += 1
        prefix = super().cached_prefix(leg)
        leg.input_tokens -= 1
        return prefix


class ConfusesStreams(SingleTier):
    def _keys_of(self, leg):
        content = tuple(span._replace(stream="any") for span in leg.request.content or ())
        return self._keys.shared(content, leg.input_tokens)


class Remembers(SingleTier):
    def __init__(self, pool, block_size):
        super().__init__(pool, block_size)
        self.longest = {}

    def cached_prefix(self, leg):
        prefix = super().cached_prefix(leg)
        longest = max(len(prefix), self.longest.get(leg.request.content, 0))
        self.longest[leg.request.content] = longest
        prefix.num_blocks = min(longest, (leg.input_tokens - 1) // self.block_size)
        return prefix

    def admit(self, leg, prefix, end):
        return super().admit(leg, super().cached_prefix(leg), end)


class CountsQuestions(SingleTier):
    def cached_prefix(self, leg):
        self.misses += 1
        return super().cached_prefix(leg)


class Percent(SingleTier):
    @property
    def hit_rate(self):
        return 100 * super().hit_rate


class ClearsOften(SingleTier):
    """Clears the cache when many blocks are taken at once, as they are if many steps are computed at once."""

    def take(self, blocks):
        if blocks > 3:
            self.clear_cache()
        return super().take(blocks)


class NeverPaid(TwoTier):
    def __init__(self, pool, block_size):
        super().__init__(pool, block_size, cpu_blocks=30, base_latency=5)

    def claim_transfer(self):
        return self._pending_us


STORES = [
    (
        "test_a_failed_allocation_changes_nothing",
        CountsFailures,
        "take must check first, and change nothing when it returns False",
    ),
    ("test_as_many_blocks_are_taken_as_are_needed", TakesOneMore, "extend must take as many blocks as it needs"),
    (
        "test_an_allocation_that_fits_succeeds",
        KeepsTwo,
        "take must succeed if as many blocks are free as it needs",
    ),
    (
        "test_blocks_to_admit_is_a_lower_bound",
        AsksForTooMuch,
        "admit must fail with fewer free blocks than blocks_to_admit",
    ),
    (
        "test_a_blocked_request_stays_blocked",
        GivesUp,
        "stays_blocked must be False if admit can succeed before a block is put back",
    ),
    ("test_all_blocks_come_back", Leaks, "all 400 blocks must be free when no request runs"),
    (
        "test_blocks_that_come_back_can_be_taken",
        NeverFull,
        "blocks that were put back must serve later requests",
    ),
    (
        "test_a_cached_prefix_leaves_the_last_prompt_token",
        FindsAll,
        "cached_prefix must leave the last prompt token to compute",
    ),
    (
        "test_a_cached_prefix_was_stored_before",
        ConfusesStreams,
        "cached_prefix must return blocks only whose tokens were stored before",
    ),
    (
        "test_a_taken_block_loses_its_content",
        Remembers,
        "cached_prefix must not return the content of blocks that have been taken since",
    ),
    (
        "test_questions_change_nothing",
        CountsQuestions,
        "cached_prefix must change nothing, and give equal answers to equal questions",
    ),
    (
        "test_rates_are_fractions",
        Percent,
        "hit_rate must lie between 0 and 1, and thrashing_rate must not be negative",
    ),
    (
        "test_macro_steps_change_no_figure",
        ClearsOften,
        "macro-steps must change no figure: stays_blocked or offload_is_constant is wrong",
    ),
    ("test_transfer_time_is_claimed_once", NeverPaid, "claim_transfer must return whole µs, and 0 the second time"),
]


@pytest.mark.parametrize(("test", "store", "rule"), STORES)
def test_a_store_that_breaks_a_rule_fails_its_test_alone(test, store, rule):
    claims = {"reloads_on_failure": issubclass(store, TwoTier)}
    assert_breaks(KVStoreTests, test, lambda self, *pool: store(*pool), f"{store.__name__}: {rule}", **claims)


def test_a_store_that_reloads_on_failure_has_to_say_so():
    found = failures(KVStoreTests, lambda self, *pool: TwoTier(*pool, cpu_blocks=30))
    assert set(found) == {"test_a_failed_allocation_changes_nothing"}


@pytest.mark.parametrize("suite", [SchedulerTests, PriorityPolicyTests, BatchPolicyTests, KVStoreTests])
def test_every_rule_is_broken_by_a_plugin(suite):
    cases = [*CASES, *((KVStoreTests, *case) for case in STORES)]
    assert {test for of, test, *_ in cases if of is suite} == rules_of(suite)
