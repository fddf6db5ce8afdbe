-- Everything that a person is asked about, each apart, and every state of a consent record (ISO/IEC TS 27560). A state is
-- never edited: a new one is a new row.
alter table consent drop constraint consent_decision_check;
alter table consent add constraint consent_decision_check check (decision in (
    'service', 'share_referral', 'contact', 'family_contact', 'tracing', 'identification', 'police', 'consular', 'legal',
    'medical', 'forensic_exam', 'evidence_storage', 'evidence_release', 'cross_border_return', 'interpreter',
    'call_recording', 'research', 'statistics'));
alter table consent drop constraint consent_state_check;
alter table consent add constraint consent_state_check check (state in (
    'requested', 'given', 'refused', 'withdrawn', 'expired', 're-confirmed', 'invalidated'));
-- What a person took back of the record before this one: {"recipient" | "class" | "category" | "purpose": what}. Null where
-- the record is not such a part.
alter table consent add column taken_back jsonb;

-- Never to this official: `value` is their organisation, `sealed` their name under the person's key (null where it could not
-- be sealed: the key store was silent). Which official reads there no machine knows, so the organisation gets nothing.
alter table exclusion drop constraint exclusion_kind_check;
alter table exclusion add constraint exclusion_kind_check check (
    kind in ('organisation', 'organisation_type', 'law_enforcement', 'official'));
alter table exclusion add column sealed bytea;
alter table exclusion add constraint exclusion_sealed_check check (sealed is null or kind = 'official');
