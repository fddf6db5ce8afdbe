"""The gate beside a naive judge, written from the rules on consent and disclosure field by field, in plain loops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.questions import OrganisationFacts
from schemas.vocabulary import (
    ConsentDecision,
    ConsentState,
    DataCategory,
    OrganisationStatus,
    OrganisationType,
    Purpose,
    Served,
    ServiceGroup,
    ServiceType,
)
from services.intake.bases.domain import Kind
from services.intake.cases.fields import OFFER_FIELDS, PACKET_FIELDS, PLACEMENT_FIELDS
from services.intake.disclosure.domain import (
    ERASED,
    Consent,
    Exclusion,
    Person,
    Rule,
    allowed,
    as_offer,
    disclose,
    together,
)
from services.intake.disclosure.recipients import RecipientClass
from services.intake.disclosure.rulebook import Agreement, Ask, Corridor, NeedToKnow, Rules
from tests.unit import naive_bases, naive_decisions

NOW = naive_bases.NOW
HOUR = timedelta(hours=1)
US, THEM, OTHERS = UUID(int=1), UUID(int=2), UUID(int=3)
HERE, ELSEWHERE = UUID(int=4), UUID(int=5)
RULE = UUID(int=6)
FIELDS = (*PACKET_FIELDS, *PLACEMENT_FIELDS)
_BELONGS = {
    "functional_needs": ["age_band", "sex", "needs", "languages"],
    "safety": ["safety_notes"],
    "identity": ["name", "age_years", "citizenship"],
    "contact": ["phone", "contact_notes"],
    "family": ["family_notes"],
    "health": ["health_notes"],
    "account": ["account", "exploitation", "means_of_control"],
    "alleged_offender": ["recruiter_notes"],
    "legal_status": ["legal_notes"],
    "documents_photo": ["documents"],
    "placement": ["receiver", "arrival", "address"],
}


def judge(field: str, ask: Ask, person: Person, rules: Rules) -> bool:
    """May this one field go? Everybody who has a say is heard in turn; the first no ends it."""
    category = None
    for name, members in _BELONGS.items():
        if field in members:
            category = name
    if category is None:
        return False
    if not _asker_works(ask.recipient) or not _rules_agree(field, category, ask, rules):
        return False
    if naive_bases.law_demands(category, ask, person):
        return True
    if _is_excluded(ask.recipient, person) or not naive_bases.panel_has_said(ask, person):
        return False
    if person.sharing_shut or person.service_shut:
        return False
    if naive_bases.somebody_speaks(category, ask, person):
        return True
    if not naive_decisions.act_is_agreed(ask, person):
        return False
    return _person_agrees(category, ask, person) and _consent_covers(category, ask, person)


def _is_police(asker: OrganisationFacts) -> bool:
    return asker.law_enforcement or asker.type == "police"


def _asker_works(asker: OrganisationFacts) -> bool:
    return asker.status == "active" and asker.type != "unknown"


def _is_excluded(asker: OrganisationFacts, person: Person) -> bool:
    for never in person.exclusions:
        if never.kind == "organisation" and never.value == str(asker.organisation):
            return True
        if never.kind == "official" and never.value == str(asker.organisation):
            return True  # they may be the very one who reads
        if never.kind == "organisation_type" and never.value == asker.type.value:
            return True
        if never.kind == "law_enforcement" and _is_police(asker):
            return True
    return False


def _person_agrees(category: str, ask: Ask, person: Person) -> bool:
    for decision in (person.service, person.sharing):
        if decision is None or decision.state.value not in {"given", "re-confirmed"}:
            return False
        if decision.valid_from > ask.now:
            return False
        if decision.valid_until is not None and ask.now >= decision.valid_until:
            return False
        if person.minor and not decision.guardian and not naive_bases.stands_for_a_guardian(category, ask, person):
            return False
        if decision.guardian and person.of_age is not None and decision.valid_from < person.of_age <= ask.now:
            return False
    return True


def _consent_covers(category: str, ask: Ask, person: Person) -> bool:
    sharing, asker = person.sharing, ask.recipient
    assert sharing is not None
    if category not in [one.value for one in sharing.categories]:
        return False
    if ask.purpose not in list(sharing.purposes):
        return False
    for organisation in sharing.organisations:
        if organisation == asker.organisation:
            return True
    if _is_police(asker) or asker.type.value in {"embassy", "ministry"}:
        return False
    for kind in sharing.classes:
        type_fits = kind.type is None or kind.type == asker.type
        country_fits = kind.country is None or kind.country == asker.country
        takes_all_of_them_in = True
        for group in kind.serves:
            if group == "unknown" or asker.serves is None or group not in list(asker.serves):
                takes_all_of_them_in = False
        if type_fits and country_fits and takes_all_of_them_in:
            return True
    return False


def _rules_agree(field: str, category: str, ask: Ask, rules: Rules) -> bool:
    needed = agreed = False
    for need in rules.need_to_know:
        same = need.group == ask.group and need.stage == ask.stage
        here = need.network is None or need.network == ask.network
        if same and here and field in need.fields and ask.group.value != "unknown":
            needed = True
    for agreement in rules.agreements:
        between = agreement.sender == ask.sender and agreement.recipient == ask.recipient.organisation
        if between and ask.purpose in agreement.purposes and category in [one.value for one in agreement.categories]:
            agreed = True
    crosses = ask.recipient.country == ask.country
    for corridor in rules.corridors:
        way = (corridor.from_country, corridor.to_country)
        if way == (ask.country, ask.recipient.country) and category in [one.value for one in corridor.categories]:
            crosses = True
    return needed and agreed and crosses


# --- a case in which everything is allowed ------------------------------------------------------------------------


def facts(**more: object) -> OrganisationFacts:
    known = {
        "organisation": THEM, "type": OrganisationType.SHELTER, "country": "KH", "law_enforcement": False,
        "status": OrganisationStatus.ACTIVE,
    }  # fmt: skip
    return OrganisationFacts.model_validate({**known, **more})


def consent(decision: ConsentDecision = ConsentDecision.SHARE_REFERRAL) -> Consent:
    return Consent(
        decision=decision, state=ConsentState.GIVEN, version=1, categories=frozenset(DataCategory),
        purposes=frozenset(Purpose), organisations=frozenset(), classes=(RecipientClass(OrganisationType.SHELTER, "KH"),),
        valid_from=NOW - HOUR, valid_until=NOW + HOUR, guardian=False,
    )  # fmt: skip


PERSON = Person(
    minor=False, service=consent(ConsentDecision.SERVICE), sharing=consent(), exclusions=(), sharing_shut=False,
    service_shut=False,
)  # fmt: skip
ASK = Ask(US, HERE, facts(), "packet", Purpose.SERVICE_PROVISION, ServiceGroup.SHELTER, "KH", NOW)
RULES = Rules(
    need_to_know=(NeedToKnow(RULE, HERE, ServiceGroup.SHELTER, "packet", frozenset(FIELDS)),),
    agreements=(Agreement(RULE, US, THEM, frozenset(DataCategory), frozenset(Purpose)),),
    corridors=(),
)


def verdict(field: str = "name", *, ask: Ask = ASK, person: Person = PERSON, rules: Rules = RULES) -> Rule:
    found = disclose([field], ask, person, rules)[field]
    assert (found is Rule.ALLOWED) == judge(field, ask, person, rules)
    return found


def sharing(**more: object) -> Person:
    return replace(PERSON, sharing=replace(consent(), **more))  # type: ignore[arg-type]


def service(**more: object) -> Person:
    return replace(PERSON, service=replace(consent(ConsentDecision.SERVICE), **more))  # type: ignore[arg-type]


def asking(**more: object) -> Ask:
    return replace(ASK, recipient=facts(**more))


def test_everything_is_allowed_where_every_rule_allows_it() -> None:
    assert set(disclose(FIELDS, ASK, PERSON, RULES).values()) == {Rule.ALLOWED}


def act(decision: ConsentDecision, **more: object) -> Person:
    return replace(PERSON, others=(replace(consent(decision), **more),))  # type: ignore[arg-type]


GIRLS = RecipientClass(OrganisationType.SHELTER, "KH", frozenset({Served.GIRLS}))
REFUSED: list[tuple[Rule, dict[str, object]]] = [
    (Rule.UNKNOWN_FIELD, {"field": "shoe_size"}),
    (Rule.ORGANISATION_SUSPENDED, {"ask": asking(status=OrganisationStatus.SUSPENDED)}),
    (Rule.ORGANISATION_SUSPENDED, {"ask": asking(status="a status of next year")}),
    (Rule.ORGANISATION_UNKNOWN, {"ask": asking(type="a type of next year")}),
    (Rule.EXCLUDED, {"person": replace(PERSON, exclusions=(Exclusion("organisation", str(THEM)),))}),
    (Rule.EXCLUDED, {"person": replace(PERSON, exclusions=(Exclusion("organisation_type", "shelter"),))}),
    (Rule.EXCLUDED, {"person": replace(PERSON, exclusions=(Exclusion("official", str(THEM)),))}),
    (Rule.FENCED, {"person": replace(PERSON, sharing_shut=True)}),
    (Rule.FENCED, {"person": replace(PERSON, service_shut=True)}),
    (Rule.FENCED, {"person": ERASED}),
    (Rule.SERVICE_CONSENT, {"person": replace(PERSON, service=None)}),
    (Rule.SERVICE_CONSENT, {"person": service(state=ConsentState.WITHDRAWN)}),
    (Rule.SERVICE_CONSENT, {"person": service(state=ConsentState.REFUSED)}),
    (Rule.CONSENT_EXPIRED, {"person": service(valid_until=NOW)}),
    (Rule.CONSENT_EXPIRED, {"person": service(state=ConsentState.EXPIRED)}),
    (Rule.SHARING_CONSENT, {"person": sharing(state=ConsentState.REQUESTED)}),
    (Rule.SHARING_CONSENT, {"person": sharing(state=ConsentState.INVALIDATED)}),
    (Rule.DECISION, {"ask": replace(ASK, service_type=ServiceType.FORENSIC_EXAM)}),
    (Rule.DECISION, {"ask": replace(ASK, service_type=ServiceType.FORENSIC_EXAM),
                     "person": act(ConsentDecision.FORENSIC_EXAM, state=ConsentState.WITHDRAWN)}),
    (Rule.FAMILY_CHECK, {"ask": replace(ASK, service_type=ServiceType.FAMILY_ASSESSMENT),
                         "person": act(ConsentDecision.FAMILY_CONTACT)}),
    (Rule.SHARING_CONSENT, {"person": replace(PERSON, sharing=None)}),
    (Rule.SHARING_CONSENT, {"person": sharing(state=ConsentState.REFUSED)}),
    (Rule.SHARING_CONSENT, {"person": sharing(valid_from=NOW + HOUR, valid_until=None)}),
    (Rule.CONSENT_EXPIRED, {"person": sharing(valid_until=NOW)}),
    (Rule.GUARDIAN, {"person": replace(PERSON, minor=True)}),
    (Rule.OF_AGE, {"person": replace(PERSON, of_age=NOW, service=replace(PERSON.service, guardian=True))}),
    (Rule.DETERMINATION, {"person": replace(PERSON, minor=True),
                          "ask": replace(ASK, service_type=ServiceType.FOSTER_KINSHIP)}),
    (Rule.CONSENT_PURPOSE, {"person": sharing(purposes=frozenset({Purpose.FOLLOW_UP}))}),
    (Rule.CONSENT_CATEGORY, {"person": sharing(categories=frozenset(DataCategory) - {DataCategory.IDENTITY})}),
    (Rule.CONSENT_RECIPIENT, {"person": sharing(classes=(RecipientClass(OrganisationType.CLINIC),))}),
    (Rule.CONSENT_RECIPIENT, {"person": sharing(classes=(RecipientClass(country="TH"),))}),
    (Rule.CONSENT_RECIPIENT, {"person": sharing(classes=(GIRLS,)), "ask": asking(serves=["boys", "women"])}),
    (Rule.CONSENT_RECIPIENT, {"person": sharing(classes=(GIRLS,))}),
    (Rule.NEED_TO_KNOW, {"rules": replace(RULES, need_to_know=())}),
    (Rule.NEED_TO_KNOW, {"ask": replace(ASK, stage="offer")}),
    (Rule.NEED_TO_KNOW, {"ask": replace(ASK, group=ServiceGroup.HEALTH)}),
    (Rule.NEED_TO_KNOW, {"ask": replace(ASK, network=ELSEWHERE)}),
    (Rule.AGREEMENT, {"rules": replace(RULES, agreements=())}),
    (Rule.AGREEMENT, {"ask": replace(ASK, sender=OTHERS)}),
    (Rule.AGREEMENT, {"rules": replace(RULES, agreements=(
        Agreement(RULE, US, THEM, frozenset(DataCategory), frozenset({Purpose.REFERRAL})),))}),
    (Rule.CORRIDOR, {"ask": replace(ASK, country="TH")}),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "change"), REFUSED)
def test_one_rule_that_refuses_is_enough_and_is_named(rule: Rule, change: dict[str, object]) -> None:
    assert verdict(**change) is rule  # type: ignore[arg-type]


def test_every_rule_about_one_person_alone_is_met_above() -> None:
    assert {rule for rule, _ in REFUSED} == set(Rule) - {Rule.ALLOWED, Rule.PARTY, Rule.RARE}


def test_a_consent_ends_in_the_very_moment_that_it_names() -> None:
    assert verdict(person=sharing(valid_until=NOW + timedelta(microseconds=1))) is Rule.ALLOWED
    assert verdict(person=sharing(valid_until=NOW)) is Rule.CONSENT_EXPIRED


def test_a_class_may_say_whom_it_takes_in() -> None:
    """All of those that it names; whoever else they take in does not matter."""
    takes = asking(serves=["girls", "women"])
    assert verdict(ask=takes, person=sharing(classes=(GIRLS,))) is Rule.ALLOWED
    both = replace(GIRLS, serves=frozenset({Served.GIRLS, Served.WOMEN}))
    assert verdict(ask=takes, person=sharing(classes=(both,))) is Rule.ALLOWED
    assert verdict(ask=asking(serves=["girls"]), person=sharing(classes=(both,))) is Rule.CONSENT_RECIPIENT
    later = replace(GIRLS, serves=frozenset({Served.UNKNOWN}))
    unread = asking(serves=["a group of next year"])
    assert verdict(ask=unread, person=sharing(classes=(later,))) is Rule.CONSENT_RECIPIENT


def test_an_act_is_told_of_where_the_person_agreed_to_it_itself() -> None:
    examined = replace(ASK, service_type=ServiceType.FORENSIC_EXAM)
    assert verdict(ask=examined, person=act(ConsentDecision.FORENSIC_EXAM)) is Rule.ALLOWED
    again = act(ConsentDecision.FORENSIC_EXAM, state=ConsentState.RE_CONFIRMED)
    assert verdict(ask=examined, person=again) is Rule.ALLOWED
    assert verdict(ask=examined, person=act(ConsentDecision.EVIDENCE_STORAGE)) is Rule.DECISION
    assert verdict(ask=examined, person=act(ConsentDecision.FORENSIC_EXAM, valid_until=NOW)) is Rule.DECISION


def test_an_embassy_is_told_of_papers_only_where_the_person_agreed_to_deal_with_one() -> None:
    papers = replace(asking(type="embassy"), service_type=ServiceType.IMMIGRATION_STATUS)
    named = sharing(organisations=frozenset({THEM}))
    assert verdict(ask=papers, person=named) is Rule.DECISION
    assert verdict(ask=papers, person=replace(named, others=act(ConsentDecision.CONSULAR).others)) is Rule.ALLOWED
    assert verdict(ask=replace(papers, recipient=facts()), person=named) is Rule.ALLOWED, "a lawyer needs no such yes"


@pytest.mark.parametrize("kind", ["police", "embassy", "ministry"])
def test_authorities_are_covered_by_name_only(kind: str) -> None:
    everybody = (RecipientClass(), RecipientClass(OrganisationType(kind)), RecipientClass(country="KH"))
    assert verdict(ask=asking(type=kind), person=sharing(classes=everybody)) is Rule.CONSENT_RECIPIENT
    named = sharing(classes=(), organisations=frozenset({THEM}))
    assert verdict(ask=asking(type=kind), person=named) is Rule.ALLOWED


def test_law_enforcement_is_covered_by_name_only_whatever_it_calls_itself() -> None:
    shelter_of_the_police = asking(law_enforcement=True)
    assert verdict(ask=shelter_of_the_police) is Rule.CONSENT_RECIPIENT
    assert verdict(ask=shelter_of_the_police, person=sharing(organisations=frozenset({THEM}))) is Rule.ALLOWED


@pytest.mark.parametrize("police", [{"type": "police"}, {"law_enforcement": True}])
def test_never_law_enforcement_beats_even_its_name(police: dict[str, object]) -> None:
    named = replace(sharing(organisations=frozenset({THEM})), exclusions=(Exclusion("law_enforcement", "any"),))
    assert verdict(ask=asking(**police), person=named) is Rule.EXCLUDED


def test_a_minor_needs_the_guardian_for_both_decisions() -> None:
    guarded_service = replace(PERSON, minor=True, service=replace(consent(ConsentDecision.SERVICE), guardian=True))
    guarded_sharing = replace(PERSON, minor=True, sharing=replace(consent(), guardian=True))
    both = replace(guarded_service, sharing=guarded_sharing.sharing)
    assert verdict(person=guarded_service) is Rule.GUARDIAN
    assert verdict(person=guarded_sharing) is Rule.GUARDIAN
    assert verdict(person=both) is Rule.ALLOWED


def test_a_kind_of_service_that_is_not_known_needs_nothing() -> None:
    anything = replace(RULES, need_to_know=(NeedToKnow(RULE, None, ServiceGroup.UNKNOWN, "packet", frozenset(FIELDS)),))
    assert verdict(ask=replace(ASK, group=ServiceGroup.UNKNOWN), rules=anything) is Rule.NEED_TO_KNOW


def test_a_rule_of_every_network_counts_in_each_and_a_rule_of_one_in_no_other() -> None:
    everywhere = replace(RULES.need_to_know[0], network=None)
    rules = replace(RULES, need_to_know=(everywhere,))
    assert verdict(rules=rules) is verdict(ask=replace(ASK, network=ELSEWHERE), rules=rules) is Rule.ALLOWED
    both = (replace(everywhere, network=ELSEWHERE), *RULES.need_to_know)
    assert verdict(rules=replace(RULES, need_to_know=both)) is Rule.ALLOWED
    assert verdict(rules=replace(RULES, need_to_know=both[:1])) is Rule.NEED_TO_KNOW


def test_the_rules_that_count_are_those_that_an_answer_rests_on() -> None:
    """The others of the book change no verdict, and are not written down with it."""
    ids = [UUID(int=number) for number in range(10, 19)]
    need, agreement = RULES.need_to_know[0], RULES.agreements[0]
    there, back = (Corridor(id_, *way, frozenset(DataCategory)) for id_, way in
                   zip(ids, (("TH", "KH"), ("KH", "TH")), strict=False))  # fmt: skip
    book = Rules(
        (replace(need, id=ids[2]), replace(need, id=ids[3], network=ELSEWHERE), replace(need, id=ids[4], stage="offer")),
        (replace(agreement, id=ids[5]), replace(agreement, id=ids[6], sender=OTHERS),
         replace(agreement, id=ids[7], purposes=frozenset({Purpose.REFERRAL}))),
        (there, back),
    )  # fmt: skip
    assert book.counting(ASK).ids == [ids[2], ids[5]]
    assert book.counting(replace(ASK, country="TH")).ids == [ids[0], ids[2], ids[5]]


def test_a_corridor_leads_one_way_and_for_its_categories() -> None:
    abroad = replace(ASK, country="TH")
    there = Corridor(RULE, "TH", "KH", frozenset({DataCategory.IDENTITY}))
    assert verdict(ask=abroad, rules=replace(RULES, corridors=(there,))) is Rule.ALLOWED
    assert verdict("phone", ask=abroad, rules=replace(RULES, corridors=(there,))) is Rule.CORRIDOR
    back = replace(there, from_country="KH", to_country="TH")
    assert verdict(ask=abroad, rules=replace(RULES, corridors=(back,))) is Rule.CORRIDOR


# --- any case -----------------------------------------------------------------------------------------------------

ORGANISATIONS = st.sampled_from([THEM, THEM, THEM, US, OTHERS])
COUNTRIES = st.sampled_from(["KH", "KH", "TH"])
TYPES = st.sampled_from([OrganisationType.SHELTER] * 6 + list(OrganisationType))
CATEGORIES = st.one_of(st.just(frozenset(DataCategory)), st.frozensets(st.sampled_from(DataCategory)))
PURPOSES = st.one_of(st.just(frozenset(Purpose)), st.frozensets(st.sampled_from(Purpose)))
STATES = st.sampled_from([ConsentState.GIVEN] * 6 + list(ConsentState))
BEGINS = st.sampled_from([NOW - HOUR, NOW - HOUR, NOW, NOW + HOUR])
ENDS = st.sampled_from([None, NOW + HOUR, NOW + timedelta(microseconds=1), NOW, NOW - HOUR])
CLASSES = st.lists(
    st.builds(RecipientClass, st.one_of(st.none(), TYPES), st.one_of(st.none(), COUNTRIES),
              st.one_of(st.just(frozenset()), st.just(frozenset()), st.frozensets(st.sampled_from(Served), max_size=2))),
    min_size=1, max_size=3,
).map(tuple)  # fmt: skip
MOSTLY_NOT = st.sampled_from([False] * 5 + [True])
STAGES = st.sampled_from(["offer", "packet", "placement"])
GROUPS = st.sampled_from([ServiceGroup.SHELTER] * 3 + [ServiceGroup.HEALTH, ServiceGroup.UNKNOWN])
SOME_FIELDS = st.one_of(st.just(frozenset(FIELDS)), st.frozensets(st.sampled_from(FIELDS)))


def decided(decision: st.SearchStrategy[ConsentDecision]) -> st.SearchStrategy[Consent]:
    return st.builds(
        Consent, decision, STATES, st.just(1), CATEGORIES, PURPOSES, st.frozensets(ORGANISATIONS, max_size=2),
        CLASSES, BEGINS, ENDS, st.booleans(),
    )  # fmt: skip


def consents(decision: ConsentDecision) -> st.SearchStrategy[Consent | None]:
    made = decided(st.just(decision))
    return st.one_of(made, made, made, st.none())


EXCLUSIONS = st.one_of(
    st.builds(Exclusion, st.sampled_from(["organisation", "official"]), ORGANISATIONS.map(str)),
    st.builds(Exclusion, st.just("organisation_type"), st.sampled_from(OrganisationType).map(str)),
    st.just(Exclusion("law_enforcement", "any")),
)
BASES = naive_bases.bases(ORGANISATIONS)
OTHERS_DECIDED = naive_decisions.others(decided(naive_decisions.DECISIONS))
OF_AGE = st.sampled_from([None, None, NOW - 2 * HOUR, NOW - HOUR / 2, NOW, NOW + HOUR])
PEOPLE = st.builds(
    Person, minor=MOSTLY_NOT, service=consents(ConsentDecision.SERVICE), sharing=consents(ConsentDecision.SHARE_REFERRAL),
    exclusions=st.one_of(st.just(()), st.just(()), st.lists(EXCLUSIONS, max_size=2).map(tuple)), sharing_shut=MOSTLY_NOT,
    service_shut=MOSTLY_NOT, bases=BASES, generation=naive_bases.GENERATIONS, of_age=OF_AGE, others=OTHERS_DECIDED,
)  # fmt: skip
NETWORKS = st.sampled_from([HERE, HERE, ELSEWHERE])
NEEDS = st.builds(NeedToKnow, st.just(RULE), st.one_of(st.none(), NETWORKS), GROUPS, STAGES, SOME_FIELDS)
AGREEMENTS = st.builds(Agreement, st.just(RULE), st.sampled_from([US, US, OTHERS]), ORGANISATIONS, CATEGORIES, PURPOSES)
CORRIDORS = st.builds(Corridor, st.just(RULE), COUNTRIES, COUNTRIES, CATEGORIES)
ASKERS = st.builds(
    OrganisationFacts, organisation=ORGANISATIONS, type=TYPES, country=COUNTRIES, law_enforcement=MOSTLY_NOT,
    status=st.sampled_from([OrganisationStatus.ACTIVE] * 6 + list(OrganisationStatus)),
    serves=st.one_of(st.none(), st.lists(st.sampled_from(Served), max_size=5).map(tuple)),
)  # fmt: skip
SERVICES = st.one_of(naive_bases.SERVICES, naive_decisions.SERVICES)
ASKS = st.builds(Ask, st.sampled_from([US, US, OTHERS]), NETWORKS, ASKERS, STAGES, st.sampled_from(Purpose), GROUPS, COUNTRIES,
                 st.just(NOW), SERVICES)  # fmt: skip
RULEBOOKS = st.builds(
    Rules,
    st.lists(NEEDS, max_size=4).map(tuple),
    st.lists(AGREEMENTS, max_size=4).map(tuple),
    st.lists(CORRIDORS, max_size=3).map(tuple),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(ask=ASKS, person=PEOPLE, rules=RULEBOOKS)
@example(ask=ASK, person=PERSON, rules=RULES)
def test_the_gate_says_what_the_judge_says(ask: Ask, person: Person, rules: Rules) -> None:
    told = disclose(FIELDS, ask, person, rules)
    assert set(told) == set(FIELDS)
    assert {field for field in FIELDS if judge(field, ask, person, rules)} == allowed(told)


# Everything is allowed of each of them: by consent, or by what stands in for it.
_NEVER = (Exclusion("organisation", str(THEM)),)
STARTS = (
    PERSON, PERSON,
    replace(PERSON, minor=True, bases=(naive_bases.instead(Kind.ASSESSMENT, THEM),)),
    replace(PERSON, service=None, sharing=None, bases=(naive_bases.instead(Kind.VITAL_INTEREST, THEM),)),
    replace(PERSON, service_shut=True, exclusions=_NEVER, generation=1,
            bases=(naive_bases.instead(Kind.COURT_ORDER, THEM, 1),)),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(change=st.data())
def test_the_gate_says_what_the_judge_says_near_what_is_allowed(change: st.DataObject) -> None:
    """Two or three parts of the allowed case are drawn anew: here verdicts of both kinds are about equally many."""
    parts: dict[str, st.SearchStrategy[object]] = {
        "recipient": ASKERS, "stage": STAGES, "purpose": st.sampled_from(Purpose), "group": GROUPS, "country": COUNTRIES,
        "service": consents(ConsentDecision.SERVICE), "sharing": consents(ConsentDecision.SHARE_REFERRAL),
        "exclusions": st.lists(EXCLUSIONS, max_size=2).map(tuple), "minor": st.booleans(), "sharing_shut": st.booleans(),
        "bases": BASES, "generation": naive_bases.GENERATIONS, "of_age": OF_AGE, "service_type": SERVICES,
        "others": OTHERS_DECIDED,
        "service_shut": st.booleans(), "need_to_know": st.lists(NEEDS).map(tuple),
        "agreements": st.lists(AGREEMENTS).map(tuple), "corridors": st.lists(CORRIDORS).map(tuple), "network": NETWORKS,
    }  # fmt: skip
    ask, person, rules = ASK, change.draw(st.sampled_from(STARTS), label="person"), RULES
    assert allowed(disclose(FIELDS, ask, person, rules)) == set(FIELDS)
    for name in change.draw(st.lists(st.sampled_from(sorted(parts)), min_size=1, max_size=3, unique=True)):
        drawn = {name: change.draw(parts[name], label=name)}
        if name in Ask.__slots__:
            ask = replace(ask, **drawn)  # type: ignore[arg-type]
        elif name in Person.__slots__:
            person = replace(person, **drawn)  # type: ignore[arg-type]
        else:
            rules = replace(rules, **drawn)  # type: ignore[arg-type]
    told = disclose(FIELDS, ask, person, rules)
    assert {field for field in FIELDS if judge(field, ask, person, rules)} == allowed(told)


@settings(max_examples=100, deadline=None)
@given(
    fields=st.lists(st.one_of(st.text(max_size=12), st.sampled_from(FIELDS))), ask=ASKS, person=PEOPLE, rules=RULEBOOKS
)
def test_the_gate_answers_every_field_that_is_asked_for(
    fields: list[str], ask: Ask, person: Person, rules: Rules
) -> None:
    told = disclose(iter(fields), ask, person, rules)
    assert set(told) == set(fields)
    assert not allowed(told) - set(FIELDS)


def _without_category(person: Person) -> Person:
    given_ = person.sharing
    return person if given_ is None else replace(person, sharing=replace(given_, categories=frozenset()))


def _until_now(person: Person) -> Person:
    given_ = person.service
    return person if given_ is None else replace(person, service=replace(given_, valid_until=NOW))


NARROWER: dict[str, Callable[[Person], Person]] = {
    "an exclusion": lambda p: replace(p, exclusions=(*p.exclusions, Exclusion("organisation_type", "shelter"))),
    "no law enforcement": lambda p: replace(p, exclusions=(*p.exclusions, Exclusion("law_enforcement", "any"))),
    "sharing is shut": lambda p: replace(p, sharing_shut=True),
    "service is shut": lambda p: replace(p, service_shut=True),
    "no sharing": lambda p: replace(p, sharing=None),
    "no service": lambda p: replace(p, service=None),
    "no category": _without_category,
    "expired": _until_now,
    "a minor": lambda p: replace(p, minor=True, bases=()),
    "no act": lambda p: replace(p, others=()),
    "nothing stands in": lambda p: replace(p, bases=()),
    "the person says something": lambda p: replace(p, generation=p.generation + 1),
}


@pytest.mark.parametrize("narrower", NARROWER)
@settings(max_examples=50, deadline=None)
@given(ask=ASKS, person=PEOPLE, rules=RULEBOOKS)
@example(ask=ASK, person=PERSON, rules=RULES)
def test_what_narrows_never_allows_more(narrower: str, ask: Ask, person: Person, rules: Rules) -> None:
    after = disclose(FIELDS, ask, NARROWER[narrower](person), rules)
    assert allowed(after) <= allowed(disclose(FIELDS, ask, person, rules))


@settings(max_examples=50, deadline=None)
@given(ask=ASKS, person=PEOPLE, rules=RULEBOOKS, which=st.integers(0, 2))
@example(ask=ASK, person=PERSON, rules=RULES, which=1)
def test_a_rule_that_ends_never_allows_more(ask: Ask, person: Person, rules: Rules, which: int) -> None:
    name = ("need_to_know", "agreements", "corridors")[which]
    fewer = replace(rules, **{name: getattr(rules, name)[1:]})
    assert allowed(disclose(FIELDS, ask, person, fewer)) <= allowed(disclose(FIELDS, ask, person, rules))


# --- a party ------------------------------------------------------------------------------------------------------

VERDICTS = st.fixed_dictionaries({field: st.sampled_from([Rule.ALLOWED, Rule.ALLOWED, Rule.FENCED, Rule.GUARDIAN])
                                  for field in OFFER_FIELDS})  # fmt: skip


@settings(deadline=None)
@given(party=st.lists(VERDICTS, min_size=1, max_size=4))
def test_of_a_party_a_field_goes_where_every_member_allows_it(party: list[dict[str, Rule]]) -> None:
    after = together(party)
    for before, told in zip(party, after, strict=True):
        for field in OFFER_FIELDS:
            everybody = all(member[field] is Rule.ALLOWED for member in party)
            own = before[field] if before[field] is not Rule.ALLOWED else Rule.PARTY
            assert told[field] is (Rule.ALLOWED if everybody else own)


@settings(deadline=None)
@given(party=st.lists(VERDICTS, min_size=1, max_size=4))
def test_an_offer_tells_nothing_of_anybody_where_one_members_needs_may_not_be_told(
    party: list[dict[str, Rule]],
) -> None:
    after = as_offer(party)
    yes = all(member["needs"] is Rule.ALLOWED for member in party)
    assert all(told["needs"] is Rule.ALLOWED for told in after) == yes
    if not yes:
        assert not any(allowed(told) for told in after)
