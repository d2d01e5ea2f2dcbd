"""How readily the engine plans runs of steps.

It does so only where that pays, which is rare in scenarios as small as these. Left to itself, most of them would
compare single steps with single steps; so every test here also runs with a plan wherever one is possible.
"""

import pytest

from blis_simpy.replica import engine, macro_step


def plan_always(patch):
    """Let the engine plan wherever the rules allow it, even a single step."""
    patch.setattr(macro_step, "_WORTH_PLANNING", 1)
    patch.setattr(engine.Engine, "decision_gap_x8", property(lambda _: 1 << 30, lambda *_: None), raising=False)


@pytest.fixture(scope="module", autouse=True, params=["plan always", "plan where it pays"])
def planning(request):
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "plan always":
            plan_always(patch)
        yield request.param
