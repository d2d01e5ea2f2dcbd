"""Segments of KV blocks, what requests hold of them, and the free list."""

from blis_simpy.replica.kv_block import NO_LINE, FreeList, HeldBlocks, Segment


def test_blocks_that_are_split_off_keep_their_holders():
    segment = Segment(1, 10, 8)
    segment.num_holders = 2
    rest = segment.split(3)
    assert (segment.position, segment.length, segment.end) == (10, 3, 13)
    assert (rest.position, rest.length, rest.num_holders) == (13, 5, 2)


def test_a_request_holds_all_parts_of_a_segment_that_was_split_since():
    segment = Segment(1, 0, 8)
    held = HeldBlocks()
    held.append(segment, 8)
    rest = segment.split(5)
    middle = segment.split(2)
    assert list(held.backwards()) == [rest, middle, segment]
    assert held.last is rest
    assert len(held) == 8


def test_a_request_that_shares_the_beginning_does_not_hold_the_rest():
    segment = Segment(1, 0, 8)
    segment.split(5)
    held = HeldBlocks()
    held.append(segment, 5)
    assert list(held.backwards()) == [segment]


def test_blocks_without_a_key_at_the_end_of_the_free_list_are_one_segment():
    free = FreeList()
    free.append_blocks(2)
    free.append_blocks(3)
    free.append(Segment(1, 0, 4))
    free.append_blocks(1)
    assert [(part.line, part.length) for part in free] == [(NO_LINE, 5), (1, 4), (NO_LINE, 1)]


def test_a_segment_leaves_the_free_list_from_any_place():
    free = FreeList()
    parts = [Segment(line, 0, 1) for line in (1, 2, 3)]
    for part in parts:
        free.append(part)
    free.remove(parts[1])
    assert list(free) == [parts[0], parts[2]]
    free.remove(parts[0])
    assert free.anchor.after is parts[2]
