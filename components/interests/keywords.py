"""Keyword extraction from item texts in English, Chinese, and mixtures of both."""

import re
from collections.abc import Iterator

import numpy as np
from scipy import sparse

from components.interests.profile import Keywords

_WORD = re.compile(r"(?P<chinese>[\u3400-\u9fff]+)|(?P<word>[^\W_\u3400-\u9fff]+(?:['’-][^\W_\u3400-\u9fff]+)*)")
# Parts of speech that carry meaning (ICTCLAS tags): nouns, verbs, adjectives, idioms, abbreviations, foreign words.
_CONTENT_TAGS = ("n", "v", "a", "i", "l", "j", "b", "eng")


def extract_keywords(texts: list[str], per_item: int) -> Keywords:
    """The `per_item` strongest terms of each text by TF-IDF. Deterministic.

    scikit-learn's smoothed TF-IDF; rows have unit length before the weaker terms are dropped.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = [tokenize(text) for text in texts]
    if not any(words):
        return Keywords(sparse.csr_matrix((len(texts), 0), dtype=np.float32), [])
    vectorizer = TfidfVectorizer(analyzer=_identity, dtype=np.float32)
    matrix = _strongest_per_row(vectorizer.fit_transform(words).tocsr(), per_item)
    used = np.flatnonzero(matrix.getnnz(axis=0))
    terms = vectorizer.get_feature_names_out()
    return Keywords(matrix[:, used].tocsr(), [str(terms[column]) for column in used])


def tokenize(text: str) -> list[str]:
    """The content words of a text, lower-cased and in order: no stop words, numbers or single letters."""
    return list(_tokens(text))


def _tokens(text: str) -> Iterator[str]:
    import rjieba

    for match in _WORD.finditer(text):
        if match["chinese"]:
            for word, tag in rjieba.tag(match["chinese"]):
                # A single character counts as a word only if it is a noun (茶, 书), not as 是, 大 or 有.
                if tag.startswith(_CONTENT_TAGS) and (len(word) > 1 or tag.startswith("n")):
                    yield word
        elif word := _content_word(match["word"].lower().replace("’", "'")):
            yield word


def _content_word(word: str) -> str:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    word = word.removesuffix("'s")
    meaningless = len(word) < 2 or word.partition("'")[0] in ENGLISH_STOP_WORDS or not any(map(str.isalpha, word))
    return "" if meaningless else word


def _identity(words: list[str]) -> list[str]:
    return words


def _strongest_per_row(matrix: sparse.csr_matrix, keep: int) -> sparse.csr_matrix:
    """Keeps the `keep` largest entries of each row; ties go to the alphabetically first term."""
    matrix.sort_indices()
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    order = np.lexsort((matrix.indices, -matrix.data, rows))
    rank = np.arange(len(order)) - matrix.indptr[rows[order]]
    kept = np.sort(order[rank < keep])
    return sparse.csr_matrix((matrix.data[kept], (rows[kept], matrix.indices[kept])), shape=matrix.shape)
