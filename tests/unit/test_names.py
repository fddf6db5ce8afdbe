"""Names: found however they are typed, in an order that does not depend on a machine."""

from __future__ import annotations

from spean.names import fits, place_of


def in_order(*names: str) -> list[str]:
    found = list(names)
    found.reverse()  # equal ones would stay that way
    found.sort(key=place_of)
    return found


def test_letters_count_and_neither_case_nor_accents_do() -> None:
    names = ["Angkor", "élan", "Elan House", "River", "Saint Émile", "saint Enoch"]
    assert in_order(*names) == names
    assert in_order("Elan", "Élan") == ["Elan", "Élan"], "where only an accent differs, the one without comes first"


def test_khmer_stands_as_in_its_dictionaries() -> None:
    # The first consonant, then vowels, then what is written below.
    names = ["កក", "កា", "កំពង់", "ក្រុម", "ខ", "គូ", "ផ្ទះ", "ស", "ហ", "អ"]
    assert in_order(*names) == names
    assert place_of("ផ្ទះ\u200bថ្មី") == place_of("ផ្ទះថ្មី"), "what cannot be seen does not count"
    assert in_order("ផ្ទះ\u200bខ", "ផ្ទះគ") == ["ផ្ទះ\u200bខ", "ផ្ទះគ"]


def test_every_word_is_looked_for_in_every_name() -> None:
    assert fits("E\u0301LAN hou", "Élan House")
    assert fits("dara lotus", "Lotus House", "Sok Dara")
    assert fits("សុវត្ថិ", "ផ្ទះ\u200bសុវត្ថិភាព")
    assert fits("", "anything")
    assert not fits("dara nowhere", "Lotus House", "Sok Dara")
