"""/api/v1/stats: how many of what, and what waits."""

from fastapi import APIRouter

from aftercall.flows import look
from aftercall.flows.views import StatsView
from api.access import ServiceOf

router = APIRouter(prefix="/stats", tags=["stats"])


@router.get("")
def show(service: ServiceOf) -> StatsView:
    return look.show_stats(service)
