"""Files that are the same for everybody: named by what is in them, so that a browser keeps them for ever.

They are served under /static by every node, compressed once, at first use.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import brotli
from starlette.requests import Request
from starlette.responses import Response

WEB = Path(__file__).parent
# Folders whose files may be fetched; nothing else of the source is within reach.
FOLDERS = tuple(WEB / name for name in ("static", "static/fonts", "vendor", "charts", "map"))
KINDS: Mapping[str, str] = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
    ".webmanifest": "application/manifest+json",
    ".png": "image/png",
}
_FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """`integrity`: for the element that loads it (SRI)."""

    name: str
    kind: str
    body: bytes
    packed: bytes | None
    digest: str
    integrity: str

    @property
    def address(self) -> str:
        return f"/static/{self.digest}/{self.name}"


@cache
def assets() -> Mapping[str, Asset]:
    """Every file by name; style sheets last, for they name fonts."""
    found = {path.name: path for folder in FOLDERS if folder.is_dir() for path in sorted(folder.iterdir())}
    made: dict[str, Asset] = {}
    for name, path in sorted(found.items(), key=lambda one: one[1].suffix == ".css"):
        if path.suffix in KINDS:
            made[name] = _asset(path, made)
    return made


def _asset(path: Path, made: Mapping[str, Asset]) -> Asset:
    body = path.read_bytes()
    if path.suffix == ".css":  # fonts are named by their content as well, so a style sheet names them by it
        for one in made.values():
            body = body.replace(f"url({one.name})".encode(), f"url({one.address})".encode())
    packed = None if path.suffix in {".woff2", ".png"} else brotli.compress(body, quality=9)
    whole = hashlib.sha384(body).digest()
    return Asset(
        path.name, KINDS[path.suffix], body, packed, whole.hex()[:16], f"sha384-{base64.b64encode(whole).decode()}"
    )


async def serve(request: Request) -> Response:
    """One file. An address with another digest is an older page's: the file as it is now, not kept."""
    found = assets().get(request.path_params["name"])
    if found is None:
        return Response(status_code=404)
    current = request.path_params["digest"] == found.digest
    headers = {"Cache-Control": _FOR_EVER if current else "no-cache", "Vary": "Accept-Encoding"}
    body = found.body
    if found.packed is not None and takes_brotli(request):
        headers["Content-Encoding"], body = "br", found.packed
    return Response(body, headers=headers, media_type=found.kind)


# What a browser keeps for pages without a line; large files of one script come when a page of that language asks.
_KEPT = ("app.css", "leave.js", "queue.js", "icons.svg", "icon.svg")


async def worker(request: Request) -> Response:
    """The service worker, with the addresses of the files that it keeps. Its own address stays, its content is its version."""
    del request
    kept = [assets()[name].address for name in _KEPT]
    body = assets()["worker.js"].body.replace(b'"KEPT"', json.dumps(kept).encode())
    # A worker fetches under the policy of its own file.
    headers = {"Cache-Control": "no-cache", "Content-Security-Policy": "default-src 'none'; connect-src 'self'"}
    return Response(body, headers=headers, media_type="text/javascript; charset=utf-8")


def takes_brotli(request: Request) -> bool:
    codings = (one.split(";")[0].strip() for one in request.headers.get("accept-encoding", "").split(","))
    return "br" in codings
