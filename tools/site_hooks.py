"""What mkdocs does besides, as mkdocs.yml asks: pages of the root, and links that leave the site.

The changelog and the contributing page lie beside docs/ and are pages of the site, too. A link to
a file that is no page leads to the repository when `repo_url` is set, and is plain code when not.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
#: Files of the root, and what they are called on the site.
PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
#: The site has a front page of its own.
_ON_SITE = {**PAGES, "README.md": "index.md"}
_BEGINS = {page: name for name, page in PAGES.items()}
_FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Any, *, config: Any) -> Any:
    """Adds the pages of the root."""
    from mkdocs.structure.files import File  # there when the site is built, and only then

    for name, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Mends the links that lead out of docs/."""
    on_site = page.file.src_uri
    parts = _FENCED.split(markdown)
    return "".join(
        part
        if part.startswith("```")
        else _LINK.sub(lambda found: mended(found[1], found[2], on_site, config.repo_url), part)
        for part in parts
    )


def mended(text: str, target: str, on_site: str, repo_url: str | None) -> str:
    """A page's link as the site wants it."""
    if re.match(r"[a-z]+:|#", target):
        return f"[{text}]({target})"
    path, _, anchor = target.partition("#")
    source = _BEGINS.get(on_site, f"docs/{on_site}")
    file = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    there = file.removeprefix("docs/") if file.startswith("docs/") else _ON_SITE.get(file)
    if there is not None:
        relative = posixpath.relpath(there, posixpath.dirname(on_site) or ".")
        return f"[{text}]({relative}{'#' if anchor else ''}{anchor})"
    if repo_url:
        return f"[{text}]({repo_url.rstrip('/')}/blob/main/{file})"
    return text if "`" in text else f"`{text}`"
