"""The sample network's tables: real provinces, complete rules, nothing to police across a border."""

from __future__ import annotations

from schemas.vocabulary import GROUP_OF, OrganisationType, ServiceGroup
from services.cli import sample, sample_network
from services.intake.cases.fields import CATEGORY_OF
from spean.geography import known_area

IDS = {known.key: known.key for known in sample_network.ORGANISATIONS}


def test_places_are_in_real_provinces_and_of_one_kind_each() -> None:
    pools = [pool for known in sample_network.ORGANISATIONS for pool in known.pools]
    assert [pool.area for pool in pools if not known_area(pool.area)] == []
    assert {len({GROUP_OF[service] for service in pool.service_types}) for pool in pools} == {1}


def test_every_group_of_services_has_its_need_to_know_within_what_agreements_give() -> None:
    assert sample_network.PACKET.keys() == set(ServiceGroup) - {ServiceGroup.UNKNOWN}
    offered = {group for known in sample_network.ORGANISATIONS for pool in known.pools
               for group in {GROUP_OF[service] for service in pool.service_types}}  # fmt: skip
    assert offered >= {ServiceGroup.SHELTER, ServiceGroup.HEALTH, ServiceGroup.LEGAL, ServiceGroup.PSYCHOSOCIAL}
    shelter = {CATEGORY_OF[name] for name in sample_network.PACKET[ServiceGroup.SHELTER]}
    assert shelter <= set(sample_network.GIVEN_TO[OrganisationType.SHELTER])


def test_agreements_go_both_ways_and_across_a_border_to_houses_only() -> None:
    agreed = {(body["sender"], body["recipient"]) for _, _, body in sample._agreements(IDS)}
    assert {(other, one) for one, other in agreed} == agreed
    assert ("kh-poipet", "th-orchid") in agreed
    assert ("kh-poipet", "kh-police") in agreed
    assert ("kh-poipet", "th-police") not in agreed
    assert ("th-police", "kh-lotus") not in agreed
    assert ("mm-myawaddy", "vn-peace") not in agreed


def test_names_of_commands_are_unique() -> None:
    """Each is an Idempotency-Key: one name for two commands would drop the second."""
    names = [name for name, _, _ in (*sample._need_to_know("network"), *sample._agreements(IDS), *sample._corridors())]
    assert len(names) == len(set(names))


def test_what_needs_to_be_known_is_a_rule_of_the_sample_network_only() -> None:
    assert {body["network"] for _, _, body in sample._need_to_know("network")} == {"network"}
