"""The page of a person's data: looked up, handed out, forgotten after the ending was typed."""

from tests.api.server import assert_problem
from tests.console.telling import Teller
from tests.console.visitor import Visitor
from tests.flows.people import LINE, NATIONAL, PHONE, call_ids

ENDING = NATIONAL[-4:]


def tell(teller: Teller) -> None:
    teller.tell("c1", callee_phone=PHONE, caller_phone=LINE)


def test_a_person_is_looked_up_without_their_number_in_the_address(
    teller: Teller, admin: Visitor
) -> None:
    tell(teller)
    empty = admin.get("/people").text
    assert "Erase everything" not in empty
    page = admin.submit("/people", {"phone": "98715 32305"})
    assert page.status_code == 200
    assert f"ends in {ENDING}" in page.text
    assert "call_payloads" in page.text
    assert "Erase everything" in page.text
    assert admin.get("/calls").text.count("/people") == 1


def test_what_is_no_person_is_said_at_the_field(teller: Teller, admin: Visitor) -> None:
    tell(teller)
    for phone, says in (("nobody", "no phone number"), (LINE, "no person"), ("", "no phone")):
        page = admin.submit("/people", {"phone": phone})
        assert page.status_code == 422
        assert says in page.text
        assert 'id="fault-phone"' in page.text


def test_the_export_is_a_download(teller: Teller, admin: Visitor) -> None:
    tell(teller)
    answer = admin.submit("/people/export", {"phone": PHONE})
    assert answer.headers["content-disposition"] == 'attachment; filename="person.json"'
    assert answer.json()["calls"][0]["call_id"] == "c1"


def test_erasing_wants_the_last_four_digits(teller: Teller, admin: Visitor) -> None:
    tell(teller)
    for ending in ("", "0000", "yes"):
        page = admin.submit("/people/forget", {"phone": PHONE, "ending": ending})
        assert page.status_code == 422
        assert f"Type {ENDING}" in page.text
    assert call_ids(teller.service) == {"c1"}
    done = admin.submit("/people/forget", {"phone": PHONE, "ending": ENDING})
    assert "0 places left" in done.text
    assert NATIONAL not in done.text
    assert call_ids(teller.service) == set()
    assert "person.forgotten" in admin.get("/audit").text


def test_a_reader_may_look_and_no_more(teller: Teller, reader: Visitor) -> None:
    tell(teller)
    page = reader.submit("/people", {"phone": PHONE})
    assert page.status_code == 200
    assert "Erase everything" not in page.text
    assert "Download" not in page.text
    for path in ("/people/export", "/people/forget"):
        assert reader.submit(path, {"phone": PHONE, "ending": ENDING}).status_code == 403
    assert call_ids(teller.service) == {"c1"}


def test_a_form_of_another_site_erases_nothing(teller: Teller, admin: Visitor) -> None:
    tell(teller)
    refused = admin.post(
        "/people/forget",
        {"phone": PHONE, "ending": ENDING},
        headers={"Accept": "application/json"},
    )
    assert_problem(refused, 403)
    assert call_ids(teller.service) == {"c1"}
