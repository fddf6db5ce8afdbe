"""The catalogue of events as one page to read: no script, nothing from anywhere else. Pure, like the document."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from schemas.contracts import Schema
from schemas.registry import TOPICS
from services.cli import asyncapi
from services.cli.asyncapi import Said

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "catalogue"), autoescape=True, undefined=StrictUndefined,
    trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
)  # fmt: skip


def page(handled: Mapping[str, frozenset[str]], kind: Callable[[Schema], str]) -> str:
    """`kind`: what a field is, in a word or two."""
    return _TEMPLATES.get_template("events.html").render(
        topics=TOPICS, said=asyncapi.catalogue(handled), attributes=asyncapi.attributes(), kind=kind, example=_example,
        in_code=_in_code,
        channel=asyncapi.channel, purpose=asyncapi.purpose, key_and_order=asyncapi.key_and_order,
    )  # fmt: skip


def _in_code(text: str) -> Markup:
    """Names in back-ticks as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 (escaped just now)


def _example(one: Said) -> str:
    return json.dumps(one.example, indent=2, ensure_ascii=False)
