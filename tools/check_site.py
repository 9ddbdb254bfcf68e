"""Checks the built site: its links and anchors exist, and nothing is loaded from outside.

Reads the HTML as a browser gets it. Links to other sites are not followed.
"""

import re
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: A browser fetches these by itself.
_LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}
_LOADING_RELS = {"stylesheet", "icon", "preload", "preconnect", "modulepreload", "manifest"}
_CSS_ADDRESS = re.compile(r"""(?:url\(|@import\s)\s*["']?((?:https?:)?//[^"')\s]+)""")


@dataclass(slots=True)
class Page:
    """What a page says of itself."""

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.page.ids |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and "href" in given:
            self.page.links.append(given["href"])
        elif tag == "link" and _LOADING_RELS & set(given.get("rel", "").split()):
            self.page.loads.append(given.get("href", ""))
        elif given.get(_LOADS.get(tag, "")):
            self.page.loads.append(given[_LOADS[tag]])


def faults(site: Path) -> list[str]:
    """What is wrong, one line each; none when all is well."""
    pages = {path: _read(path) for path in sorted(site.rglob("*.html"))}
    if not pages:
        return [f"{site} has no page"]
    found = []
    for path, page in pages.items():
        found += [
            f"{path.relative_to(site)}: {target}: {problem}"
            for target in [*page.links, *page.loads]
            if (problem := _problem(site, path, target, pages, is_load=target in page.loads))
        ]
    for path in sorted(site.rglob("*.css")):
        found += [
            f"{path.relative_to(site)}: {address}: loaded from outside"
            for address in _CSS_ADDRESS.findall(path.read_text())
        ]
    return found


def _read(path: Path) -> Page:
    reader = _Reader()
    reader.feed(path.read_text())
    return reader.page


def _problem(
    site: Path, path: Path, target: str, pages: dict[Path, Page], *, is_load: bool
) -> str | None:
    parts = urlsplit(target)
    if parts.scheme == "data" or (parts.scheme and not is_load):
        return None
    if parts.scheme or parts.netloc:
        return "loaded from outside"
    base = site if parts.path.startswith("/") else path.parent
    file = (base / unquote(parts.path).lstrip("/")).resolve() if parts.path else path
    if file.is_dir():
        file /= "index.html"
    if not file.is_file() or site.resolve() not in file.resolve().parents:
        return "no such file"
    anchor = unquote(parts.fragment)
    page = pages.get(file) or pages.get(site / file.relative_to(site.resolve()))
    if anchor and page is not None and anchor not in page.ids:
        return "no such anchor"
    return None


def main(arguments: list[str]) -> int:
    """0 when all is well, 1 with one line a fault, 2 usage."""
    if len(arguments) != 1:
        print("usage: python -m tools.check_site FOLDER", file=sys.stderr)
        return 2
    found = faults(Path(arguments[0]).resolve())
    for line in found:
        print(line, file=sys.stderr)
    if not found:
        print("Every link of the site leads somewhere, and nothing is loaded from outside.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
