"""Settings, read once at start from the environment (`SPEAN_…`) and handed down; no other place reads the environment."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


def _home(name: str) -> Path:
    """Where a folder of that name belongs for this account: under /var/lib as root, else under the account's data."""
    if os.name == "posix" and os.geteuid() == 0:
        return Path("/var/lib/spean") / name
    base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "spean" / name


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SPEAN_", frozen=True, extra="ignore")

    data: Path = Field(default_factory=lambda: _home("data"), description="folder of the embedded database")
    keys: Path = Field(
        default_factory=lambda: _home("keys"), description="folder of all keys; never in a backup of data"
    )
    postgres: str = Field(default="", description="address of a PostgreSQL; empty: embedded")
    bus: str = Field(default="", description="kafka://host:port,…; empty: the bus inside PostgreSQL")
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8420, ge=0, le=65535, description="port to listen on; the next free one if taken")
    url: str = Field(default="", description="public address of this installation; empty: http://host:port")
    holder: str = Field(default="main", pattern=r"^[a-z][a-z0-9-]{0,30}$", description="name of the holder run here")
    country: str = Field(default="KH", pattern=r"^[A-Z]{2}$", description="country of the holder run here")
    holders: dict[str, str] = Field(default_factory=dict, description="name → address of every holder on the bus")
    sample: bool = Field(default=True, description="load the sample network at the first start")
    smtp: str = Field(default="", description="smtp://[user:password@]host:port; empty: mails wait, nothing is sent")
    mail_from: str = Field(default="no-reply@localhost", description="sender of notices")
    fast_unsafe: bool = Field(default=False, description="tests only: the embedded database does not wait for the disk")
