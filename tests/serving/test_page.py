"""The page in a real browser."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from components.store.engine import make_engine
from components.store.keys import create_link
from tests.support.service import World
from tests.support.toy_data import squares

NARROW = 380


def is_fault(message: ConsoleMessage) -> bool:
    """A lost connection is what one test is about."""
    return message.type == "error" and "ERR_INTERNET_DISCONNECTED" not in message.text


@pytest.fixture
def page(browser: Browser, world: World) -> Iterator[Page]:
    """A tab that fails the test when the page logs an error, a breach of the content policy among them."""
    context = browser.new_context(base_url=world.address)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if is_fault(message) else None)
    yield page
    context.close()
    assert errors == []


def pick(page: Page, user: str) -> None:
    page.get_by_label("Recommend for").fill(user)
    page.get_by_label("Recommend for").press("Enter")
    expect(page.get_by_role("heading", name=user, exact=True)).to_be_visible()


def sign_in(page: Page, world: World) -> None:
    """By a link of `duotempo open store`."""
    engine = make_engine(world.database)
    with engine.begin() as connection:
        token = create_link(connection)
    engine.dispose()
    page.goto(f"/#sign-in={token}")


def shown(page: Page) -> list[str]:
    return [str(card.get_attribute("data-item")) for card in page.locator(".card").all()]


def test_a_like_changes_the_list_before_your_eyes(page: Page, world: World) -> None:
    sign_in(page, world)
    expect(page.locator("#users option[value=bella]")).to_have_count(1)
    pick(page, "page-reader")
    expect(page.get_by_text("Nothing is known of this user yet")).to_be_visible()
    expect(page.locator(".card")).to_have_count(12)
    before = shown(page)
    white = next(item for item in before if item in squares("white"))
    page.locator(f".card[data-item={white}]").get_by_role("button", name="Like", exact=False).first.click()
    expect(page.locator("#change")).to_contain_text("Liked")
    after = shown(page)
    assert white not in after
    assert after != before
    assert set(after) <= set(squares("white"))
    expect(page.locator("#change")).to_contain_text("gone: ")
    new = [item for item in after if item not in before]
    assert page.locator(".moved", has_text="new").count() == len(new)
    expect(page.get_by_text("lasting taste")).to_be_visible()
    expect(page.locator("#short li").first).to_have_text("white")


def test_a_hidden_item_leaves_by_keyboard(page: Page) -> None:
    page.goto("/?user=page-hider")
    expect(page.locator(".card")).to_have_count(12)
    first = shown(page)[0]
    button = page.locator(".card").first.get_by_role("button", name="Hide", exact=False)
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#change")).to_contain_text("Hidden")
    assert first not in shown(page)


def test_reasons_and_the_two_tones_are_there(page: Page) -> None:
    page.goto("/?user=turner")
    expect(page.locator("#blend")).to_have_attribute("aria-label", re.compile(r"^\d+% long-term, \d+% short-term$"))
    expect(page.locator("#blend .long")).to_be_visible()
    expect(page.locator("#blend .short")).to_be_visible()
    first = page.locator(".card").first
    expect(first.locator(".reason")).not_to_be_empty()
    first.get_by_text("Why exactly").click()
    expect(first.get_by_role("term").filter(has_text="Because of")).to_be_visible()


def test_an_unreachable_service_is_told(page: Page) -> None:
    page.goto("/?user=willy")
    expect(page.locator(".card")).to_have_count(12)
    page.context.set_offline(True)
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("alert")).to_contain_text("unreachable")
    page.context.set_offline(False)
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("alert")).to_be_hidden()


def test_it_fits_a_narrow_screen(page: Page) -> None:
    page.set_viewport_size({"width": NARROW, "height": 800})
    for path in ("/?user=bella", "/docs"):
        page.goto(path)
        expect(page.locator(".card, .operation").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW


def test_the_docs_show_the_routes(page: Page) -> None:
    page.goto("/docs")
    for path in ("/recommend", "/feedback", "/similar", "/items", "/users"):
        expect(page.get_by_role("heading", name=path).first).to_be_visible()
    expect(page.get_by_text("How many items, up to the setting").first).to_be_visible()
