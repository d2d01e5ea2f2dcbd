"""Prompts: as long as they should be, equal where they should be, and different elsewhere."""

import pytest

from blis_simpy.core.request import Request
from blis_simpy.core.token_spans import Span
from blis_simpy.realserver.prompts import WORDS, Prompts, Turn, joined


def request(name="r", tokens=5, **others):
    return Request(name, 0, tokens, 3, **others)


def shared(tokens, group="g", prefix=2, **others):
    return request(tokens=tokens, content=(Span(f"prefix:{group}", 0, prefix),), prefix_group=group, **others)


def text(prompt, **options):
    return joined(Prompts(1, **options).turns(prompt))


def test_there_are_a_hundred_words():
    assert len(set(WORDS)) == 100
    assert "hello" not in WORDS


@pytest.mark.parametrize("tokens", [1, 4])
def test_a_prompt_that_shares_nothing_is_all_hello(tokens):
    assert text(request(tokens=tokens)) == "hello " * tokens


def test_no_prompt_is_empty():
    assert text(request(tokens=0)) == "hello "


def test_a_prefix_is_words_and_counts_among_the_tokens():
    words = text(shared(6)).split(" ")
    assert set(words[:2]) <= set(WORDS)
    assert words[2:] == ["hello"] * 4 + [""]


def test_a_prompt_that_is_all_prefix_has_one_word_of_its_own():
    assert text(shared(2)).split()[2:] == ["hello"]


def test_a_prefix_follows_from_seed_and_group():
    assert text(shared(40, prefix=30)) == text(shared(40, prefix=30, name="other"))
    assert text(shared(40, prefix=30)) != text(shared(40, "h", prefix=30))
    assert text(shared(40, prefix=30)) != joined(Prompts(2).turns(shared(40, prefix=30)))


def test_a_shorter_prefix_is_the_beginning_of_a_longer_one():
    prompts = Prompts(1)
    long, short = (joined(prompts.turns(shared(20, prefix=prefix))).split()[:prefix] for prefix in (20, 7))
    assert long[:7] == short


def test_distinct_prompts_have_words_of_their_own():
    first, second = (text(request(name, 30), distinct=True).split() for name in "ab")
    assert len(first) == len(second) == 30
    assert first != second


def conversation():
    """The first two rounds of a session: 2 tokens, answered with 2, then 3 more."""
    first = request(
        tokens=2, session="s", content=(Span("session:s:input:0", 0, 2),), output_stream="session:s:output:0"
    )
    content = (*first.content, Span("session:s:output:0", 0, 2), Span("session:s:input:1", 0, 3))
    return first, request("second", 7, session="s", round_index=1, content=content)


def test_a_further_round_repeats_what_was_said_and_answered():
    first, second = conversation()
    prompts = Prompts(1)
    asked = prompts.turns(first)
    prompts.remember(first, "fine thanks")
    turns = prompts.turns(second)
    assert turns[:2] == [*asked, Turn("assistant", "fine thanks")]
    assert turns[2].role == "user"
    assert len(turns[2].text.split()) == 3
    assert joined(turns).startswith(f"{asked[0].text}fine thanks {turns[2].text}")


def test_without_an_answer_words_stand_in_for_it():
    _, second = conversation()
    turns = Prompts(1).turns(second)
    assert [turn.role for turn in turns] == ["user", "assistant", "user"]
    assert [len(turn.text.split()) for turn in turns] == [2, 2, 3]


def test_only_outputs_of_the_session_itself_are_answers():
    """A shared prefix may have any name."""
    prompt = request(tokens=3, content=(Span("session:s:output:0", 0, 2),))
    assert [turn.role for turn in Prompts(1).turns(prompt)] == ["user"]
