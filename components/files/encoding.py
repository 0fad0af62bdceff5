"""Finds out in which encoding a text is that is not UTF-8."""

import codecs
import re

_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_COMMON_LEADS = {
    "gb18030": ("gb2312", range(0xB0, 0xD8)),
    "big5": ("big5", range(0xA4, 0xC7)),
    "cp932": ("shift_jis", range(0x88, 0x98)),
    "cp949": ("euc_kr", range(0xB0, 0xC9)),
}
"""First bytes of the characters in everyday use, which each of these encodings puts before the rare ones."""
_SHARED_SIGNS = re.compile(r"[\u3000-\u30ff\uff01-\uff60]")
"""Punctuation, full-width letters and kana."""
_MIN_COMMON = 0.7
_MIN_HANGUL = 6
"""Characters from which on a text that is all common Hangul is hardly Chinese by chance."""
_NAMES = {"gb18030": "GB18030 (GBK)", "cp932": "Shift-JIS", "cp949": "EUC-KR", "cp1252": "Latin-1 (cp1252)"}
_HIGH = re.compile(rb"[\x80-\xff]+")
_PUNCTUATION = re.compile(rb"[\x80\x82\x84\x85\x91-\x97\x99\xa0\xa9\xab\xae\xb0\xb7\xbb]")
"""Signs of cp1252 and cp1251 that are no letters, such as dashes and quotation marks."""
_LETTERS = re.compile(rb"[\xc0-\xff\xa8\xb8]")
"""Letters in cp1252 and cp1251."""
_CYRILLIC = "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё"
"""Letters, the commonest first."""
_INNER_CAPITAL = re.compile("[а-я][А-Я]")
_MIN_LETTERS = 0.9
_MAX_LATIN_RUN = 1.6
"""Mean length of a run of letters beyond ASCII; in Cyrillic texts it is the length of a word."""
_MIN_ZEROS = 0.3
_MAX_STRAY_ZEROS = 0.02


def marked_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32, when a file's first bytes have its mark, or every other byte is zero as in ASCII texts."""
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            return encoding
    even, odd = (head[start::2].count(0) / max(len(head) / 2, 1) for start in (0, 1))
    if odd > _MIN_ZEROS and even < _MAX_STRAY_ZEROS:
        return "utf-16-le"
    return "utf-16-be" if even > _MIN_ZEROS and odd < _MAX_STRAY_ZEROS else None


def detect(sample: bytes) -> str | None:
    """The likely encoding of lines with bytes beyond ASCII, or None when there is none.

    Single letters beyond ASCII within words are Latin, runs of them Cyrillic. For the rest, the encoding is chosen in
    which most characters are common ones.
    """
    runs = _HIGH.findall(_PUNCTUATION.sub(b" ", sample))
    high = sum(map(len, runs))
    if not high:
        return "cp1252"
    if len(_LETTERS.findall(b"".join(runs))) >= _MIN_LETTERS * high:
        return "cp1252" if high / len(runs) < _MAX_LATIN_RUN else _cyrillic(sample)
    shares = {encoding: _common_share(sample, encoding) for encoding in _COMMON_LEADS}
    best = max(shares, key=lambda encoding: shares[encoding])
    if shares["cp949"] == 1 and high >= 2 * _MIN_HANGUL:
        best = "cp949"
    return best if shares[best] >= _MIN_COMMON else None


def _cyrillic(sample: bytes) -> str:
    """The Cyrillic encoding with the fewest capitals within words, and then with the commonest letters.

    Read as the other one, small letters are capitals, and all are other letters.
    """

    def oddity(encoding: str) -> tuple[int, int]:
        text = sample.decode(encoding, errors="replace")
        return len(_INNER_CAPITAL.findall(text)), sum(_CYRILLIC.find(letter) % 33 for letter in text.lower())

    return min(("cp1251", "koi8-r"), key=oddity)


def _common_share(sample: bytes, encoding: str) -> float:
    """The share of a text's characters beyond ASCII that are in everyday use where the encoding is."""
    characters = [character for character in sample.decode(encoding, errors="replace") if character > "\x7f"]
    codec, leads = _COMMON_LEADS[encoding]
    common = sum(bool(_SHARED_SIGNS.match(character)) or _lead(character, codec) in leads for character in characters)
    return common / max(len(characters), 1)


def _lead(character: str, codec: str) -> int:
    """The first byte of an encoded character; 0 if the encoding does not have it."""
    return next(iter(character.encode(codec, errors="ignore")), 0)


def display_name(encoding: str) -> str:
    """The name by which people know an encoding."""
    return _NAMES.get(encoding, encoding.upper())
