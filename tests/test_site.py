"""The site: each page has its place, links that leave docs/ are mended, the checker sees faults.

The site itself is built and checked by `make docs`, in an environment of its own.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.test_docs import ROOT
from tools.check_site import faults
from tools.site_hooks import PAGES, mended


class _Loader(yaml.SafeLoader):
    """mkdocs.yml calls a function by a tag of its own."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)
SITE: dict[str, Any] = yaml.load((ROOT / "mkdocs.yml").read_text(), _Loader)  # noqa: S506


def places(node: Any) -> Iterator[str]:
    """The pages of the navigation."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for below in node.values():
            yield from places(below)
    else:
        for one in node:
            yield from places(one)


# ---- navigation ----------------------------------------------------------------


def test_every_page_has_one_place_in_the_sites_navigation() -> None:
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    placed = list(places(SITE["nav"]))
    assert sorted(placed) == sorted(pages | set(PAGES.values())), "mkdocs.yml: nav"


def test_the_site_asks_nobody_else_for_anything() -> None:
    assert SITE["theme"]["font"] is False
    assert "extra_javascript" not in SITE
    assert "analytics" not in SITE["extra"]


# ---- links that leave docs/ ----------------------------------------------------


@pytest.mark.parametrize(
    ("target", "on_page", "becomes"),
    [
        ("glossary.md", "architecture.md", "[words](glossary.md)"),
        ("../crm/README.md#a", "runbook/README.md", "[words](../crm/README.md#a)"),
        ("../../CHANGELOG.md", "runbook/upgrade.md", "[words](../changelog.md)"),
        ("../README.md", "start.md", "[words](index.md)"),
        ("docs/media.md#links", "changelog.md", "[words](media.md#links)"),
        ("LICENSE", "contributing.md", "`words`"),
        ("../api/app.py", "architecture.md", "`words`"),
        ("https://example.com/a", "start.md", "[words](https://example.com/a)"),
        ("#here", "start.md", "[words](#here)"),
    ],
)
def test_a_link_leads_to_a_page_of_the_site_or_is_none(
    target: str, on_page: str, becomes: str
) -> None:
    assert mended("words", target, on_page, None) == becomes


def test_a_link_to_a_source_file_leads_to_the_repository_where_there_is_one() -> None:
    link = mended("app", "../api/app.py", "architecture.md", "https://git.example.com/a/")
    assert link == "[app](https://git.example.com/a/blob/main/api/app.py)"


# ---- the checker ---------------------------------------------------------------


def site(folder: Path, **pages: str) -> Path:
    for name, body in pages.items():
        (folder / f"{name}.html").write_text(body)
    return folder


def test_a_good_site_has_no_fault(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "index.html").write_text('<a href="../a.html#here">a</a>')
    (tmp_path / "a.css").write_text("a{background:url(data:image/png;base64,AA)}")
    pages = {
        "a": '<p id="here"><link rel="stylesheet" href="a.css"><a href="deep/#">b</a>'
        '<a href="/a.html#here">c</a><a href="https://example.com">elsewhere</a>'
    }
    assert faults(site(tmp_path, **pages)) == []


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="b.html">', "b.html: no such file"),
        ('<a href="#b">', "#b: no such anchor"),
        ('<a href="a.html#b">', "a.html#b: no such anchor"),
        ('<a href="../../etc/hostname">', "../../etc/hostname: no such file"),
        ('<img src="b.png">', "b.png: no such file"),
        ('<script src="https://cdn.example.com/a.js"></script>', "loaded from outside"),
        ('<link rel="preconnect" href="//fonts.example.com">', "loaded from outside"),
    ],
)
def test_a_fault_is_named_with_its_page(tmp_path: Path, body: str, fault: str) -> None:
    (found,) = faults(site(tmp_path, a=body))
    assert found.startswith("a.html: ")
    assert fault in found


def test_a_style_that_loads_from_outside_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("@import 'https://fonts.example.com/a.css';")
    assert faults(site(tmp_path, a="")) == [
        "a.css: https://fonts.example.com/a.css: loaded from outside"
    ]


def test_an_empty_folder_is_no_site(tmp_path: Path) -> None:
    assert faults(tmp_path) == [f"{tmp_path} has no page"]
