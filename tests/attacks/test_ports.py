"""Unauthorized access to the platform's ports: by a foreign page in a local browser, by other users of the machine."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from playwright.sync_api import Browser, Page

from infra.home.logins import authorization
from infra.local.platform import Platform
from infra.processes.orphans import tagged_processes
from tests.support.browser import chromium
from tests.support.platforms import SharedPlatform

pytestmark = pytest.mark.timeout(600)
FOREIGN_HOST = "evil.example"
"""A host name that resolves to this machine, as in DNS rebinding."""
FETCH_SCRIPT = """async ([url, options]) => {
    try { const answer = await fetch(url, options); return answer.type === "opaque" ? "opaque" : answer.status }
    catch (error) { return "refused" }
}"""
WEBSOCKET_SCRIPT = """([url, protocols]) => new Promise(done => {
    const socket = new WebSocket(url, protocols)
    socket.onopen = () => { socket.send("{}") }
    socket.onclose = () => done("closed")
    socket.onmessage = message => done(message.data)
})"""
JSON_HEADERS = {"Content-Type": "application/json"}


class EmptyPages(BaseHTTPRequestHandler):
    """Serves an empty page at every path."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Logs nothing."""


@pytest.fixture(scope="module")
def shared(shared_platform: SharedPlatform) -> SharedPlatform:
    shared_platform.renew()
    return shared_platform


@pytest.fixture(scope="module")
def platform(shared: SharedPlatform) -> Platform:
    return shared.platform


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The port of another local program that serves pages."""
    with ThreadingHTTPServer(("127.0.0.1", 0), EmptyPages) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(f"--host-resolver-rules=MAP {FOREIGN_HOST} 127.0.0.1") as browser:
        yield browser


def open_page(browser: Browser, address: str, login: tuple[str, str] | None = None) -> Page:
    """Opens a page; `login` is stored in the browser beforehand."""
    credentials: Any = {"username": login[0], "password": login[1]} if login else None
    page = browser.new_context(http_credentials=credentials).new_page()
    page.goto(address)
    return page


def try_post(page: Page, url: str, body: dict[str, Any], **options: object) -> Any:
    """The result of a POST from the page: the status, "opaque" or "refused"."""
    return page.evaluate(FETCH_SCRIPT, [url, {"method": "POST", "body": json.dumps(body), **options}])


@pytest.mark.parametrize("host", [FOREIGN_HOST, "127.0.0.1"])
def test_a_foreign_page_cannot_use_prefect(shared: SharedPlatform, browser: Browser, port: int, host: str) -> None:
    api, flow = shared.platform.addresses.prefect_api_url, {"name": f"made by {host}"}
    page = open_page(browser, f"http://{host}:{port}/")
    assert try_post(page, f"{api}/flows/", flow, headers=JSON_HEADERS) == "refused"
    assert try_post(page, f"{api}/flows/", flow, mode="no-cors") == "opaque"
    login_headers = authorization(shared.platform.environment())
    assert try_post(page, f"{api}/flows/", flow, headers=JSON_HEADERS | login_headers) == "refused"
    for protocols in (["prefect"], []):
        assert page.evaluate(WEBSOCKET_SCRIPT, [f"{api.replace('http', 'ws')}/events/in", protocols]) == "closed"
    filters = {"flows": {"name": {"any_": [flow["name"]]}}}
    assert shared.shell.prefect.ask("/flows/filter", filters) == []
    own = open_page(browser, shared.platform.addresses.prefect_url)
    assert try_post(own, f"{api}/flows/", flow, headers=JSON_HEADERS) == 401
    assert try_post(own, f"{api}/flows/filter", filters, headers=JSON_HEADERS | login_headers) == 200


@pytest.mark.parametrize("host", [FOREIGN_HOST, "127.0.0.1"])
def test_a_foreign_page_cannot_use_mlflow_through_a_signed_in_browser(
    platform: Platform, browser: Browser, port: int, host: str
) -> None:
    address, given = platform.addresses.mlflow_url, platform.environment()
    login = given["MLFLOW_TRACKING_USERNAME"], given["MLFLOW_TRACKING_PASSWORD"]
    make, model = f"{address}/api/2.0/mlflow/registered-models/create", {"name": f"made-by-{host}"}
    page = open_page(browser, f"http://{host}:{port}/", login)
    assert try_post(page, make, model, headers=JSON_HEADERS, credentials="include") in ("refused", 403)
    assert try_post(page, make, model, mode="no-cors", credentials="include") == "opaque"
    got = httpx.get(f"{address}/api/2.0/mlflow/registered-models/get", params=model, auth=login, timeout=60)
    assert got.status_code == 404
    bound = httpx.get(address, headers={"Host": f"{FOREIGN_HOST}:5000"}, auth=login)
    assert bound.status_code == 403
    own = open_page(browser, address, login)
    assert own.evaluate(FETCH_SCRIPT, [f"{address}/ajax-api/2.0/mlflow/users/current", {}]) == 200


def test_every_prefect_endpoint_requires_the_login(platform: Platform) -> None:
    at = platform.addresses
    paths = httpx.get(f"{at.prefect_url}/openapi.json", timeout=60).json()["paths"]
    requests = [(verb, f"/api{path}") for path, verbs in paths.items() for verb in verbs]
    with httpx.Client(base_url=at.prefect_url, timeout=60) as client:
        answers = {(verb, path): client.request(verb, path).status_code for verb, path in requests}
        wrong = client.get("/api/admin/version", auth=("duotempo", "wrong")).status_code
        right = client.get("/api/admin/version", headers=authorization(platform.environment())).status_code
    assert len(answers) > 100
    open_paths = {path for (_, path), status in answers.items() if status != 401}
    assert open_paths == {"/api/health", "/api/ready"}
    assert (wrong, right) == (401, 200)


@pytest.mark.parametrize(
    ("verb", "path"),
    [("GET", "/"), ("GET", "/api/2.0/mlflow/experiments/search"), ("POST", "/api/2.0/mlflow/registered-models/create"),
     ("GET", "/ajax-api/2.0/mlflow/users/current"), ("POST", "/graphql"), ("GET", "/get-artifact"),
     ("GET", "/api/2.0/mlflow-artifacts/artifacts"), ("PUT", "/api/2.0/mlflow-artifacts/artifacts/0/a/artifacts/b"),
     ("GET", "/api/2.0/mlflow/webhooks"), ("GET", "/signup")],
)  # fmt: skip
def test_every_mlflow_endpoint_requires_the_login(platform: Platform, verb: str, path: str) -> None:
    url = platform.addresses.mlflow_url + path
    assert httpx.request(verb, url, timeout=60).status_code == 401
    assert httpx.request(verb, url, auth=("duotempo", "wrong"), timeout=60).status_code == 401


def test_commands_show_the_logins(shared: SharedPlatform) -> None:
    services, given = shared.shell.status()["services"], shared.platform.environment()
    assert services["prefect"]["login"] == "duotempo secrets show prefect"
    assert services["mlflow"]["login"] == "duotempo secrets show mlflow"
    assert services["postgres"]["login"] is None
    assert shared.shell.run("secrets", "show", "prefect").out.strip() == given["PREFECT_API_AUTH_STRING"]
    user, _, password = shared.shell.run("secrets", "show", "mlflow").out.strip().partition(":")
    current = f"{shared.platform.addresses.mlflow_url}/api/2.0/mlflow/users/current"
    assert httpx.get(current, auth=(user, password), timeout=60).json()["user"]["is_admin"] is True
    files = [shared.platform.home.secrets / "prefect", shared.platform.home.secrets / "mlflow"]
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600, 0o600]


def test_postgres_requires_its_password(platform: Platform) -> None:
    number = platform.home.state.ports["postgres"]
    for password in ("", "duotempo"):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(host="127.0.0.1", port=number, user="duotempo", password=password, dbname="duotempo")


def test_only_known_ports_are_open_and_only_to_this_machine(platform: Platform) -> None:
    listening = {
        (connection.laddr.ip, connection.laddr.port)
        for process in tagged_processes(platform.home.id)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    ports = platform.home.state.ports
    assert {host for host, _ in listening} == {"127.0.0.1"}
    assert {number for _, number in listening} <= set(ports.values())
    assert len(listening) >= len({"postgres", "prefect", "mlflow", "hook"})
