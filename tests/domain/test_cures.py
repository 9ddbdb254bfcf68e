"""Each reason that the code writes down has a cure that fits it."""

import pytest

from aftercall.domain.cures import cure_for, cure_for_block


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("Twenty2 answered 401: UNAUTHORIZED", "API key and secret"),
        ("gave up after 3 attempts: Twenty2 answered 403: no", "API key and secret"),
        ("Twenty2 answered 404: CALL_NOT_FOUND", "check its id"),
        ("Twenty2 answered 400: bad id", "refuses this id"),
        ("Twenty2 answered 429", "Nothing to do"),
        ("gave up after 10 attempts: Twenty2 answered 503", "refetch when it works"),
        ("Twenty2's answer cannot be read: no JSON", "refetch when it works"),
        ("gave up: the call is still initiated", "did not end"),
        ("gave up: the worker was lost 3 times while it sent this delivery", "worker's log"),
        ("the destination's filter failed: x", "filter"),
        ("the destination's mapping failed: The mapping gives nothing", "mapping"),
        ("gave up after 12 attempts: the hook answered 401", "headers"),
        ("gave up after 12 attempts: the hook answered 404", "URL"),
        ("the hook answered 410 (gone)", "enable"),
        ("the hook answered 413", "too large"),
        ("the hook answered 422", "compare its answer"),
        ("the hook answered 301: redirects are not followed", "final URL"),
        ("gave up after 12 attempts: the hook answered 429", "limit"),
        ("gave up after 12 attempts: the hook answered 503", "when it works again"),
        ("gave up after 12 attempts: a:443 did not connect or answer in time", "be reached"),
        ("find the person: a:443 closed the connection without an answer", "be reached"),
        ("no complete answer from a:443: Connection refused", "be reached"),
        ("a:443 sent a body that does not decode", "be reached"),
        ("gave up after 12 attempts: a:443 has no certificate that can be trusted", "renew it"),
        (
            "gave up after 10 attempts: Twenty2 did not answer: no TLS connection to a:443",
            "refetch",
        ),
        ("10.0.0.1, which is not a public address", "private network"),
        ("its destination was removed", "make it anew"),
        ("for review: there is no phone number in this call that could be x", "without a number"),
        ("for review: 2 people in HubSpot have this number: merge them there", "Merge them"),
        ("for review: something new", "has to decide"),
        ("gave up after 12 attempts: HubSpot refuses the credentials: expired", "make new ones"),
        ("HubSpot takes no more requests for the moment", "Nothing to do"),
        ("find the person: HubSpot answered 429: DAILY (the day's limit)", "Nothing to do"),
        ("an answer of HubSpot never came: it is asked what it did", "Nothing to do"),
        ("this version knows no CRM of the kind 'x'", "Update aftercall"),
        ("gave up after 12 attempts: find the person: HubSpot answered 401: no", "set new ones"),
        ("gave up after 12 attempts: log the call: HubSpot answered 403: no", "not allowed"),
        (
            'write the fields: HubSpot answered 400: Property "x" does not exist',
            "has no such field",
        ),
        (
            "find the person: Salesforce answered 400: SELECT Id, Mood__c ^ ERROR "
            "at Row:1:Column:12 No such column 'Mood__c' on entity 'Contact'.",
            "has no such field",
        ),
        (
            "find the person: Zoho CRM answered 400: column given seems to be invalid: Mood",
            "has no such field",
        ),
        (
            "write the fields: LeadSquared answered 500: Attribute mx_Mood does not exist",
            "has no such field",
        ),
        (
            "write the fields: LeadSquared answered 500: mx_Mood: 'x' is no Number",
            "refuses a value",
        ),
        (
            "make the person: Zoho CRM answered 202: required field not found: Email",
            "is not mapped",
        ),
        ("make the person: Freshsales answered 400: Source can't be empty", "is not mapped"),
        ("log the call: Pipedrive answered 200: it did not", "refuses a value"),
        ("make the task: HubSpot answered 404: The contact does not exist", "looked for anew"),
        ("HubSpot knows nobody with this number, and the destination does not", "Add the person"),
        ("a later version of this call has been written there already", "Nothing to do"),
        ("write the fields: HubSpot answered 400: x is a read only property", "map another"),
        ("make the person: Zoho answered 400: required field not found", "is not mapped"),
        (
            "write the fields: HubSpot answered 400: x was not one of the allowed options of y",
            "no such option",
        ),
        ("write the fields: HubSpot answered 400: y is true or false, not x", "refuses a value"),
        ("write the fields: HubSpot answered 404: Object not found", "looked for anew"),
        ("gave up after 12 attempts: make the task: HubSpot answered 502", "had a fault"),
        ("make the person: HubSpot did not say their id", "address"),
        ("something that nobody foresaw", "look at its attempts"),
        ("", "look at its attempts"),
        (None, "look at its attempts"),
    ],
)
def test_every_reason_has_its_cure(reason: str | None, says: str) -> None:
    assert says in cure_for(reason)


def test_what_is_held_goes_on_when_its_destination_is_enabled() -> None:
    assert "Enable" in cure_for("the hook answered 503", held=True)


@pytest.mark.parametrize(
    ("reason", "has_credentials", "says"),
    [
        ("It has no credentials", False, "Set its API key and secret"),
        ("Twenty2 answered 401: UNAUTHORIZED", True, "anew"),
        ("Twenty2 answered 403 (5 times in a row)", True, "anew"),
        ("Twenty2 answered 429", True, "Nothing to do"),
    ],
)
def test_each_block_has_a_cure(reason: str, has_credentials: bool, says: str) -> None:
    assert says in cure_for_block(reason, has_credentials=has_credentials)
