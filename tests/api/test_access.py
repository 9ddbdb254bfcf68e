"""Guessing the admin token: counted, and never to the operator's harm."""

from tests.api.server import Api, assert_problem


def test_after_thirty_wrong_tokens_in_a_minute_the_answer_is_429_and_the_right_one_still_opens(
    api: Api,
) -> None:
    wrong = {"Authorization": "Bearer not the token"}
    answers = [api.call("GET", "/stats", headers=wrong) for _ in range(32)]
    assert [answer.status_code for answer in answers] == [401] * 30 + [429] * 2
    assert_problem(answers[-1], 429, "wait a minute")
    assert answers[-1].headers["Retry-After"] == "60"
    assert api.call("GET", "/stats").status_code == 200
