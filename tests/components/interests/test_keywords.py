import numpy as np
import pytest

from components.interests.documents import item_texts
from components.interests.keywords import extract_keywords, tokenize
from tests.support.interests import catalogue
from tests.support.toy_data import as_scipy


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The Usual Suspects (1995)", ["usual", "suspects"]),
        ("Schindler’s List, a X-Men 2 of 1942", ["schindler", "list", "x-men"]),
        (
            "无线蓝牙耳机,降噪 Sony WH-1000XM5 2023年新款",
            ["无线", "蓝牙", "耳机", "降噪", "sony", "wh-1000xm5", "新款"],
        ),
        ("我的书是很好的", ["书"]),
        ("Кино и музыка", ["кино", "музыка"]),
        ("", []),
    ],
)
def test_tokens_carry_meaning_in_english_and_chinese(text: str, words: list[str]) -> None:
    assert tokenize(text) == words


def test_a_word_of_few_texts_weighs_more_than_one_of_many() -> None:
    keywords = extract_keywords(["drama harvest", "drama detective", "drama galaxy"], 2)
    weights = dict(zip(keywords.terms, as_scipy(keywords.matrix).toarray()[0], strict=True))
    assert weights["harvest"] > weights["drama"] > 0 == weights["galaxy"]


def test_each_text_keeps_its_strongest_terms_and_the_vocabulary_holds_no_other() -> None:
    texts = ["shared apple", "shared pear", "shared plum", ""]
    keywords = extract_keywords(texts, 1)
    assert keywords.terms == ["apple", "pear", "plum"]
    assert np.array_equal(as_scipy(keywords.matrix).getnnz(axis=1), [1, 1, 1, 0])
    assert keywords.matrix.data.dtype == np.float32


def test_of_equal_terms_the_first_of_the_alphabet_is_kept() -> None:
    assert extract_keywords(["zebra apple mango"], 2).terms == ["apple", "mango"]


def test_the_same_texts_give_the_same_keywords() -> None:
    texts = item_texts(catalogue())
    first, second = extract_keywords(texts, 3), extract_keywords(texts, 3)
    assert first.terms == second.terms
    assert np.array_equal(as_scipy(first.matrix).toarray(), as_scipy(second.matrix).toarray())


@pytest.mark.parametrize("texts", [[], ["", ""], ["the 1995 a"]])
def test_texts_without_words_give_an_empty_vocabulary(texts: list[str]) -> None:
    keywords = extract_keywords(texts, 8)
    assert keywords.terms == []
    assert keywords.matrix.shape == (len(texts), 0)
