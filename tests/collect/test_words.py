"""Numbers for words, bounded."""

from hypothesis import given, strategies as st

from crucible_telemetry.collect.words import Vocabulary


@given(words=st.lists(st.text(max_size=2)))
def test_a_word_keeps_its_number_and_a_number_its_word(words):
    vocabulary = Vocabulary("", "(other)")
    numbers = [vocabulary.number(word) for word in words]
    assert [vocabulary.word(number) for number in numbers] == words
    assert len(set(numbers)) == len(set(words))
    assert vocabulary.number("") == 0


def test_f09_beyond_the_limit_all_words_share_the_last_number():
    vocabulary = Vocabulary("", "(other)", limit=4)
    numbers = [vocabulary.number(f"w{n}") for n in range(10_000)]
    assert numbers[:3] == [1, 2, 3]
    assert set(numbers[3:]) == {4}
    assert vocabulary.word(4) == "(other)"
    assert vocabulary.number("w1") == 2
    assert len(vocabulary.words) == 4
