"""Handing a person out: what is theirs, and nothing of others."""

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from aftercall.flows.errors import Conflict
from aftercall.flows.export_person import export_person, export_zip
from aftercall.flows.service import Service
from aftercall.flows.spool import spool_webhook
from aftercall.simulator import Simulator
from tests.flows.media import call_with_media, fetch_media
from tests.flows.people import LINE, NATIONAL, OTHER, PHONE, arrive, webhook
from tests.flows.work import fetch


@pytest.fixture
def service(service: Service, tmp_path: Path) -> Service:
    settings = service.settings.model_copy(update={"data_dir": tmp_path})
    return replace(service, settings=settings)


def test_a_file_that_no_row_names_is_not_handed_out(
    service: Service, simulator: Simulator, tmp_path: Path
) -> None:
    """After a restore, what lies there under the row's number may be somebody else's."""
    call_with_media(simulator, "c1", callee_phone=NATIONAL, caller_phone=LINE)
    (row,) = arrive(service, webhook("c1"))
    fetch(service, [row])
    fetch_media(service, tmp_path / "media")
    (recording,) = (tmp_path / "media").rglob("*-recording-*")
    (recording.parent / f"{row}-recording-{'0' * 16}").write_bytes(b"somebody else")
    target = io.BytesIO()
    export_zip(service, PHONE, target)
    with zipfile.ZipFile(target) as archive:
        names = [name for name in archive.namelist() if "-recording-" in name]
        assert names == [f"media/{recording.name}"]
    settings = service.settings.model_copy(update={"media_url": SecretStr("nonsense://there")})
    with pytest.raises(Conflict, match="no folder and no URL"):
        export_zip(replace(service, settings=settings), PHONE, io.BytesIO())


def test_somebody_elses_kept_webhooks_are_counted_and_not_shown(service: Service) -> None:
    spool_webhook(service, webhook("theirs"))
    spool_webhook(service, webhook("other", to=OTHER, note=PHONE))
    said = json.loads("".join(export_person(service, PHONE)))
    assert said["webhooks_waiting"] == [webhook("theirs").decode()]
    assert said["mentioned_in"] == [{"where": "redis", "column": None, "count": 1}]
