"""Files of key-encryption keys that come and go while processes read them."""

from __future__ import annotations

from pathlib import Path

from services.intake.keystore.kek import KeyFiles


def test_a_file_that_is_removed_while_it_is_looked_for_is_not_there(tmp_path: Path) -> None:
    """As the last act of changing the key does it, between reading the folder and reading the file."""
    files = KeyFiles(tmp_path / "kek-1")
    (tmp_path / "kek-2").symlink_to(tmp_path / "gone")  # listed, and not to be had
    [(name, key)] = files.newest_first()
    assert (name, len(key)) == ("file-1", 32)
    assert files.get("file-2") is None
