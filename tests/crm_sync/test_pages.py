"""The example of a CRM's page can be applied as it stands."""

from pathlib import Path

import pytest
import yaml

from aftercall.flows.configure_destinations import read_spec

PAGES = Path(__file__).parents[2] / "docs" / "crm"


@pytest.mark.parametrize("kind", ["salesforce", "zoho"])
def test_the_example_of_the_page_is_a_destination(kind: str) -> None:
    page = (PAGES / f"{kind}.md").read_text("utf-8")
    example = page.partition("```yaml\n")[2].partition("```")[0]
    (destination,) = yaml.safe_load(example)["destinations"]
    assert read_spec(destination).kind == kind
