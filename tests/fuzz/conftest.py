"""The API, as in tests/api."""

from tests.api.conftest import _api, add_destination, api, database

__all__ = ["_api", "add_destination", "api", "database"]
