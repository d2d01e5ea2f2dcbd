import pytest

import blis_simpy as blis
from blis_simpy.errors import ScenarioError
from blis_simpy.settings.bounds import MAX_ITEMS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"admission.delay": 2**62}, r"admission.delay must be < 2\*\*62"),
        ({"latency.beta": (1e19, 0, 0)}, r"latency.beta\[0\] must be <= 1e\+18"),
        ({"latency.alpha": (0.0,) * (MAX_ITEMS + 1)}, "latency.alpha must have at most 1000000 items, not 1000001"),
        ({"workload.num_requests": 10**8}, "workload.num_requests must be <= 20000000"),
        ({"kv.block_size": 10**12}, "kv.block_size must be <= 1048576"),
        ({"replicas": 10**6}, "replicas must be <= 100000"),
        ({"workload.prefix_tokens": 2**63}, "workload.prefix_tokens must be <= 2147483647"),
    ],
)
def test_a_number_beyond_its_bound_is_refused_before_anything_is_computed(changes, message):
    with pytest.raises(ScenarioError, match=message):
        blis.Scenario(model="my/model").with_(**{"latency.alpha": (0, 0, 0), **changes})


def test_twenty_unknown_keys_are_named_and_the_others_counted(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("model: a\n" + "".join(f"key{number}: 1\n" for number in range(5000)))
    with pytest.raises(ScenarioError) as caught:
        blis.load_scenario(path)
    assert len(caught.value.problems) == 21
    assert "has 4,980 more keys that are not settings" in str(caught.value)
