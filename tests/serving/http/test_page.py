"""The page in a real browser."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, expect

from components.store.engine import make_engine
from components.store.keys import create_link
from tests.support.service import RunningService
from tests.support.toy_data import squares

NARROW_PIXELS = 380


def is_unexpected_error(message: ConsoleMessage) -> bool:
    """Whether a console message is an error, other than the lost connection and used link that tests provoke."""
    expected = ("ERR_INTERNET_DISCONNECTED", "401 (Unauthorized)")
    return message.type == "error" and not any(words in message.text for words in expected)


@pytest.fixture
def page(browser: Browser, service: RunningService) -> Iterator[Page]:
    """A tab that fails the test if the page logs an error, such as a violation of the content security policy."""
    context = browser.new_context(base_url=service.address)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if is_unexpected_error(message) else None)
    yield page
    context.close()
    assert errors == []


def pick(page: Page, user: str) -> None:
    page.get_by_label("Recommend for").fill(user)
    page.get_by_label("Recommend for").press("Enter")
    expect(page.get_by_role("heading", name=user, exact=True)).to_be_visible()


def sign_in(page: Page, service: RunningService) -> None:
    """Signs in by a link as `duotempo open store` prints it."""
    engine = make_engine(service.database)
    with engine.begin() as connection:
        token = create_link(connection)
    engine.dispose()
    page.goto(f"/#sign-in={token}")


def expect_nothing_shown(page: Page) -> None:
    expect(page.locator(".card")).to_have_count(0)
    expect(page.locator("#taste")).to_be_hidden()
    expect(page.locator("#change")).to_be_empty()
    expect(page.locator("#foot")).to_be_empty()


def shown(page: Page) -> list[str]:
    return [str(card.get_attribute("data-item")) for card in page.locator(".card").all()]


def test_a_like_updates_the_list(page: Page, service: RunningService) -> None:
    sign_in(page, service)
    expect(page.locator("#users option[value=bella]")).to_have_count(1)
    pick(page, "page-reader")
    expect(page.get_by_text("Nothing is known about this user yet")).to_be_visible()
    expect(page.locator(".card")).to_have_count(12)
    before = shown(page)
    white = next(item for item in before if item in squares("white"))
    page.locator(f".card[data-item={white}]").get_by_role("button", name="Like", exact=False).first.click()
    expect(page.locator("#change")).to_contain_text("Liked")
    after = shown(page)
    assert white not in after
    assert after != before
    assert set(after) <= set(squares("white"))
    expect(page.locator("#change")).to_contain_text("removed: ")
    new = [item for item in after if item not in before]
    assert page.locator(".moved", has_text="new").count() == len(new)
    expect(page.get_by_text("short-term interest")).to_be_visible()
    expect(page.locator("#short li").first).to_have_text("white")


def test_an_item_can_be_hidden_by_keyboard(page: Page) -> None:
    page.goto("/?user=page-hider")
    expect(page.locator(".card")).to_have_count(12)
    first = shown(page)[0]
    button = page.locator(".card").first.get_by_role("button", name="Hide", exact=False)
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#change")).to_contain_text("Hidden")
    assert first not in shown(page)


def test_explanations_and_interest_bars_are_shown(page: Page) -> None:
    page.goto("/?user=turner")
    expect(page.locator("#blend")).to_have_attribute("aria-label", re.compile(r"^\d+% long-term, \d+% short-term$"))
    expect(page.locator("#blend .long")).to_be_visible()
    expect(page.locator("#blend .short")).to_be_visible()
    first = page.locator(".card").first
    expect(first.locator(".reason")).not_to_be_empty()
    first.get_by_text("Details").click()
    expect(first.get_by_role("term").filter(has_text="Because of")).to_be_visible()


def test_an_unreachable_service_is_reported(page: Page) -> None:
    page.goto("/?user=willy")
    expect(page.locator(".card")).to_have_count(12)
    page.context.set_offline(True)
    page.get_by_label("Recommend for").fill("turner")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("alert")).to_contain_text("unreachable")
    expect_nothing_shown(page)
    page.context.set_offline(False)
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_service_that_does_not_answer_is_reported(page: Page) -> None:
    page.clock.install()
    page.goto("/?user=willy")
    expect(page.locator(".card")).to_have_count(12)
    page.route("**/recommend", lambda route: None)
    page.get_by_label("Recommend for").fill("turner")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("Loading…")).to_be_visible()
    expect_nothing_shown(page)
    page.clock.fast_forward(10_000)
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    expect(page.get_by_text("Loading…")).to_have_count(0)
    expect_nothing_shown(page)
    page.unroute("**/recommend")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".card")).to_have_count(12)
    expect(page.get_by_role("alert")).to_be_hidden()


def test_switching_users_clears_the_page_before_the_response(page: Page) -> None:
    page.goto("/?user=page-chooser")
    expect(page.locator(".card")).to_have_count(12)
    page.locator(".card [data-event=like]").first.click()
    expect(page.locator("#change")).to_contain_text("Liked")
    held: list[Route] = []
    page.route("**/recommend", lambda route: held.append(route))
    page.get_by_label("Recommend for").fill("turner")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#list")).to_have_class("list busy")
    expect_nothing_shown(page)
    page.wait_for_timeout(100)
    held[0].continue_()
    expect(page.get_by_role("heading", name="turner", exact=True)).to_be_visible()
    expect(page.locator(".card")).to_have_count(12)


def test_short_term_terms_are_shown_for_old_events_too(page: Page) -> None:
    page.goto("/?user=bella")
    expect(page.locator("#blend-text")).to_have_text(re.compile(r"\d+% long-term and [1-9]\d*% short-term interest"))
    expect(page.locator("#short li").first).to_have_text("black")


def test_without_a_session_the_page_explains_how_to_sign_in(page: Page) -> None:
    page.goto("/")
    expect(page.locator("#list")).to_contain_text("duotempo open store")
    expect(page.locator("#users option")).to_have_count(0)


def test_a_used_sign_in_link_is_reported(page: Page, service: RunningService) -> None:
    page.goto("/?user=willy#sign-in=dt_000000000000_" + "A" * 43)
    expect(page.get_by_role("alert")).to_contain_text("duotempo open store")
    assert "sign-in" not in page.url


def test_it_fits_a_narrow_screen(page: Page) -> None:
    page.set_viewport_size({"width": NARROW_PIXELS, "height": 800})
    for path in ("/?user=bella", "/docs"):
        page.goto(path)
        expect(page.locator(".card, .operation").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW_PIXELS


def test_the_docs_show_the_routes(page: Page) -> None:
    page.goto("/docs")
    for path in ("/recommend", "/feedback", "/similar", "/items", "/users"):
        expect(page.get_by_role("heading", name=path).first).to_be_visible()
    expect(page.get_by_text("How many items, up to the setting").first).to_be_visible()
