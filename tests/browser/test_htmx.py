"""htmx as we ship it, in a real browser under the strictest policy we send: it swaps, posts, listens, and breaks no rule."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import pytest
import uvicorn
from playwright.async_api import Browser, Page, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from deploy.vendor import WEB, integrity
from tests.builders import eventually

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; font-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types htmx; report-uri /report"
)
CONFIG = '{"extensions":"sse,trusted","includeIndicatorCSS":false,"history":false,"mode":"same-origin"}'
BODY = """
<button id="get" hx-get="/part" hx-target="#out">get</button><div id="out"></div>
<form method="post" action="/form" hx-post="/form" hx-target="#answer"><input name="word" value="អរគុណ"><button id="send">send</button></form>
<div id="answer"></div>
<div id="live" hx-sse:connect="/events" hx-sse:close="bye"></div>
<p id="count" hx-get="/count" hx-trigger="changed from:#live">0</p>
<button id="hostile" hx-get="/hostile" hx-target="#out">hostile</button>
<button id="code" hx-on:click="window.ran = 'hx-on'">code</button>
<button id="filter" hx-get="/part" hx-trigger="click[window.ran = 'filter']" hx-target="#out">filter</button>
<svg viewBox="0 0 1000 1210" width="200"><use id="shape" href="/provinces.svg#KH-1"></use></svg>
"""
HOSTILE = (
    "<b id=hostile-part>x</b><script>window.ran = 'script'</script><img src=/none onerror=\"window.ran = 'handler'\">"
)


@dataclass
class Site:
    """What the page's server has seen."""

    address: str = ""
    reports: list[str] = field(default_factory=list)
    resumed_after: list[str | None] = field(default_factory=list)
    counted: int = 0

    async def page(self, _: Request) -> Response:
        sri = integrity(WEB / "vendor" / "htmx.js")
        head = f'<meta name="htmx-config" content=\'{CONFIG}\'><script defer src="/htmx.js" integrity="{sri}"></script>'
        text = f'<!doctype html><html lang="en"><head><title>t</title>{head}</head><body>{BODY}</body></html>'
        return HTMLResponse(text, headers={"Content-Security-Policy": POLICY})

    async def form(self, request: Request) -> Response:
        word = parse_qs((await request.body()).decode())["word"][0]
        return HTMLResponse(f"got {len(word)} from {request.headers.get('hx-request')}")

    async def count(self, _: Request) -> Response:
        self.counted += 1
        return HTMLResponse(str(self.counted))

    async def events(self, request: Request) -> Response:
        """Two events a connection; the third connection is told to end."""
        self.resumed_after.append(request.headers.get("last-event-id"))
        turn = len(self.resumed_after)
        first = [f"id: {turn * 10 + step}\nevent: changed\ndata: -\n\n" for step in (1, 2)]
        parts = [": ping\n\n", *first] if turn < 3 else ["event: bye\ndata: -\n\n"]
        return StreamingResponse(iter(parts), media_type="text/event-stream")

    async def report(self, request: Request) -> Response:
        self.reports.append((await request.body()).decode())
        return Response(status_code=204)

    def application(self) -> Starlette:
        async def part(_: Request) -> Response:
            return HTMLResponse("<p>swapped</p>")

        async def hostile(_: Request) -> Response:
            return HTMLResponse(HOSTILE)

        async def script(_: Request) -> Response:
            return Response((WEB / "vendor" / "htmx.js").read_bytes(), media_type="text/javascript")

        async def shapes(_: Request) -> Response:
            return Response((WEB / "map" / "provinces.svg").read_bytes(), media_type="image/svg+xml")

        return Starlette(routes=[
            Route("/", self.page), Route("/part", part), Route("/hostile", hostile), Route("/htmx.js", script),
            Route("/provinces.svg", shapes), Route("/count", self.count), Route("/events", self.events),
            Route("/form", self.form, methods=["POST"]), Route("/report", self.report, methods=["POST"]),
        ])  # fmt: skip


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()
    server = uvicorn.Server(uvicorn.Config(made.application(), port=0, log_level="warning", lifespan="off"))
    running = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    await eventually(started)
    made.address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.should_exit = True
        await running


@pytest.fixture
async def page(browser: Browser, site: Site) -> AsyncIterator[Page]:
    context = await browser.new_context()
    opened = await context.new_page()
    await opened.goto(f"{site.address}/")
    try:
        yield opened
    finally:
        await context.close()


async def test_it_swaps_posts_and_listens_without_one_violation(page, site):
    await page.click("#get")
    await expect(page.locator("#out p")).to_have_text("swapped")
    await page.click("#send")
    await expect(page.locator("#answer")).to_have_text("got 5 from true")
    assert page.url == f"{site.address}/"  # the page was not left
    await expect(page.locator("#count")).to_have_text("4", timeout=20_000)
    assert site.reports == []


async def test_it_resumes_after_the_last_event_and_ends_when_told(page, site):
    async def ended() -> bool:
        return len(site.resumed_after) == 3

    await eventually(ended, within_s=20)
    assert site.resumed_after == [None, "12", "22"]
    await expect(page.locator("#count")).to_have_text("4")
    assert await page.evaluate("document.querySelector('#live')._htmx?.sse === undefined")


async def test_the_shapes_of_the_sheet_are_drawn(page, site):
    box = await page.locator("#shape").bounding_box()
    assert box is not None
    assert box["width"] > 5
    assert site.reports == []


async def test_nothing_that_an_answer_brings_is_run(page, site):
    await page.click("#hostile")
    await expect(page.locator("#hostile-part")).to_have_text("x")

    async def reported() -> bool:
        return any("script-src-attr" in one for one in site.reports)

    await eventually(reported)  # the handler of the picture: blocked and told
    await page.click("#code")
    await page.click("#filter")
    await page.click("#get")
    await expect(page.locator("#out p")).to_have_text("swapped")
    assert await page.evaluate("window.ran === undefined")


async def test_a_script_of_ours_may_not_write_markup_either(page, site):
    with pytest.raises(Exception, match="TrustedHTML"):
        await page.evaluate("() => { document.body.innerHTML = '<b>x</b>' }")
