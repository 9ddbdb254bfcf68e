"""Our own links to recordings and transcripts: they last, and can be revoked.

Given away only when AFTERCALL_PUBLIC_URL says where we are reached. A link is
good from the moment in which its media are known: until they are stored it
leads on to Twenty2's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from aftercall.db.media import link_versions
from aftercall.db.session import Executor
from aftercall.domain.media import MediaKind
from aftercall.flows.service import Service
from aftercall.link_signing import LinkSigner


@dataclass(frozen=True, slots=True)
class MediaLinks:
    """Of one call; whoever has a link can listen or read, so no repr shows it."""

    recording: str | None = field(default=None, repr=False)
    transcript: str | None = field(default=None, repr=False)


NO_LINKS = MediaLinks()


def media_links(
    service: Service, executor: Executor, call_row_ids: Sequence[int]
) -> dict[int, MediaLinks]:
    """For each of these calls its links, or none. One statement; none without a public URL."""
    public_url = service.settings.public_url
    found: dict[int, dict[MediaKind, str]] = {}
    if public_url is not None and call_row_ids:
        signer = LinkSigner(service.settings.require("secret_key"))
        for one in link_versions(executor, call_row_ids):
            path = signed_path(signer, one.call_row_id, one.kind, one.version)
            found.setdefault(one.call_row_id, {})[one.kind] = public_url + path
    return {
        id_: MediaLinks(
            recording=found.get(id_, {}).get(MediaKind.RECORDING),
            transcript=found.get(id_, {}).get(MediaKind.TRANSCRIPT),
        )
        for id_ in call_row_ids
    }


def signed_path(signer: LinkSigner, call_row_id: int, kind: MediaKind, version: int) -> str:
    """Below the public URL."""
    return f"/media/{call_row_id}/{kind.value}/{signer.sign(call_row_id, kind.value, version)}"
