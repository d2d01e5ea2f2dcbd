"""Keys of the host tier, against a dictionary in which every block of the batch is moved at every offload."""

from collections import OrderedDict

from call_counter import calls
from hypothesis import event, given, settings
from hypothesis import strategies as st

from blis_simpy.replica.host_blocks import HostBlocks


class Layout:
    def __init__(self, keys):
        self.keys = list(keys)
        self.num_offloaded = 0
        self.has_left = False


class EveryBlock:
    def __init__(self, capacity):
        self.order = OrderedDict()
        self.capacity = capacity
        self.stored = self.evicted = 0

    def offload(self, batch):
        for layout in batch:
            for key in layout.keys:
                if key in self.order:
                    self.order.move_to_end(key)
                    continue
                if len(self.order) >= self.capacity:
                    self.order.popitem(last=False)
                    self.evicted += 1
                self.order[key] = None
                self.stored += 1


# Each turn: requests that leave, at most one that comes (prefix shared, own keys), one that grows, keys to reload.
turn = st.tuples(
    st.lists(st.integers(0, 3), max_size=2),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=1),
    st.lists(st.integers(0, 3), max_size=1),
    st.sets(st.integers(0, 40), max_size=3),
)


@settings(max_examples=300)
@given(st.integers(3, 25), st.lists(turn, min_size=5, max_size=30))
def test_the_order_is_that_of_moving_every_block(capacity, turns):
    blocks, every_block = HostBlocks(capacity), EveryBlock(capacity)
    batch, next_key, were_short = [], 40, 0
    for leaving, coming, growing, reloaded in turns:
        for number in leaving:
            if number < len(batch):
                batch.pop(number).has_left = True
        for shared, own in coming:
            # A prefix of keys below 4, and keys that former requests may have had.
            batch.append(Layout([*range(shared), *range(4 + 3 * own, 4 + 3 * own + own)]))
        for number in growing:
            if number < len(batch):
                batch[number].keys.append(next_key)
                next_key += 1
        for key in reloaded:
            assert (key in blocks) == (key in every_block.order)
            if key in blocks:
                blocks.move_to_end(key)
                every_block.order.move_to_end(key)
        blocks.offload(list(batch))
        every_block.offload(batch)
        assert [key for key in range(next_key) if key in blocks] == sorted(every_block.order)
        assert (len(blocks), blocks.stored, blocks.evicted) == (
            len(every_block.order),
            every_block.stored,
            every_block.evicted,
        )
        were_short += len({key for layout in batch for key in layout.keys}) > capacity
    event(f"too small for the batch: {were_short > 0}; evictions: {blocks.evicted > 0}")


def test_the_work_of_an_offload_grows_with_the_new_blocks_only():
    def offloads(length):
        blocks = HostBlocks(100_000)
        batch = [Layout(range(length * number, length * number + length)) for number in range(10)]
        blocks.offload(batch)

        def offload():
            for step in range(100):
                batch[step % 10].keys.append(-step - 1)
                blocks.offload(batch)

        return calls(offload)

    assert offloads(1_000) == offloads(10)
