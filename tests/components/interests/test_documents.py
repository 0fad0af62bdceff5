from components.interests.documents import TEXT_LENGTH, document_long, document_short


def test_documents_say_the_most_telling_first() -> None:
    long = document_long(["drama", "crime"], ["space"], ["Fargo (1996)", "Alien (1979)"], ["Loved it"])
    short = document_short(["submarine"], ["Das Boot", "Dive"], [])
    assert long == (
        "Lasting interests: drama, crime. Often about: space. Favourites: Fargo (1996); Alien (1979). "
        "In their words: Loved it."
    )
    assert short == "Right now: submarine. Recently: Das Boot; Dive."


def test_what_is_missing_is_left_out() -> None:
    assert document_long([], [], ["", "耳机"], []) == "Favourites: 耳机."
    assert document_long([], [], [""], []) == document_short([], [], []) == ""


def test_a_persons_own_text_is_one_short_line() -> None:
    document = document_short([], [], ["so  good\n\nreally", "x" * 500])
    assert document.startswith("In their words: so good really; xxx")
    assert len(document) < 2 * TEXT_LENGTH
