"""`spean token`: an access token for a partner's system, for use with curl."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from joserfc.errors import JoseError

from services.cli.client import Partner, load_key
from spean.settings import Settings


def token(
    client: Annotated[str, typer.Option("--as", help="id of the system that signs in")],
    key: Annotated[
        Path, typer.Option(help="its private key (a file with an Ed25519 JWK)", exists=True, dir_okay=False)
    ],
    scope: Annotated[list[str] | None, typer.Option(help="may be given several times; default: all it has")] = None,
    url: Annotated[str, typer.Option(envvar="SPEAN_URL", help="address of the installation")] = "",
) -> None:
    """Sign in with a private key and print the access token. It lives five minutes."""
    settings = Settings()
    address = (url or settings.url or f"http://{settings.host}:{settings.port}").rstrip("/")
    try:
        private = load_key(key)
    except (JoseError, ValueError, KeyError, TypeError):
        msg = "this file holds no Ed25519 key as JWK"
        raise typer.BadParameter(msg, param_hint="--key") from None
    typer.echo(asyncio.run(_token(Partner(address, client, private, " ".join(scope or ())))))


async def _token(partner: Partner) -> str:
    """Raises ApiProblem."""
    async with partner:
        return await partner.token()
