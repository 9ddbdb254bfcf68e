"""/api/v1/stats: how many of what, and what waits."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from aftercall.flows import look
from aftercall.flows.overview import Window, show_overview
from aftercall.flows.views import OverviewView, StatsView
from api.access import ServiceOf

router = APIRouter(prefix="/stats", tags=["stats"])


@router.get("")
def show(service: ServiceOf) -> StatsView:
    return look.show_stats(service)


@router.get("/overview")
def overview(
    service: ServiceOf,
    window: Annotated[Window, Query(description="Of the series and of the destinations")] = (
        Window.DAY
    ),
    utc_offset_minutes: Annotated[
        int, Query(ge=-840, le=840, description="Where days begin: 330 for India")
    ] = 0,
) -> OverviewView:
    """What came and went, what waits, who is unwell, and the latest failures with their cures."""
    return show_overview(service, window=window, utc_offset=timedelta(minutes=utc_offset_minutes))
