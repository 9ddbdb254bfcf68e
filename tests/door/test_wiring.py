"""What the other tests here show is what an operator gets: `aftercall api` starts it so."""

from aftercall.cli.processes import api_arguments
from tests.door.server import BOUNDED


def test_the_command_starts_the_api_with_bounded_connections() -> None:
    """Started plainly, as `uvicorn api.app:app`, heads are left to the proxy in front of it."""
    arguments = api_arguments(host="127.0.0.1", port=8000)
    assert BOUNDED[1] in arguments
    assert arguments[arguments.index(BOUNDED[1]) - 1] == BOUNDED[0]
