from lsbench_prompt_lookup.ngrams import NgramIndex


def test_the_longest_ngram_wins_over_a_later_shorter_one():
    #        0  1  2  3  4  5  6  7  8
    text = [1, 2, 3, 9, 2, 4, 7, 1, 2]
    assert NgramIndex(1, 3).continuation(text) == 2  # after 1 2, though 2 was last followed at 5
    assert NgramIndex(1, 1).continuation(text) == 5


def test_of_several_occurrences_the_last_counts():
    assert NgramIndex(1, 2).continuation([1, 2, 8, 1, 2, 9, 1, 2]) == 5


def test_the_end_of_the_text_is_not_found_in_itself():
    index = NgramIndex(1, 3)
    assert index.continuation([1, 2, 3]) is None
    assert index.continuation([1, 2, 3, 3]) == 3


def test_nothing_shorter_than_the_shortest_is_trusted():
    assert NgramIndex(2, 3).continuation([5, 6, 7, 5]) is None
    assert NgramIndex(1, 3).continuation([5, 6, 7, 5]) == 1


def test_a_growing_text_is_indexed_as_a_whole_one():
    text = [n * n % 7 for n in range(40)]
    growing = NgramIndex(1, 4)
    for end in range(1, len(text) + 1):
        assert growing.continuation(text[:end]) == NgramIndex(1, 4).continuation(text[:end])
