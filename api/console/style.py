"""Every part that pages are made of, with made-up values: to look at and to copy from."""

from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.console.charts import Chart, Series
from api.console.gate import ConsoleRoute
from api.console.pages import render

router = APIRouter(route_class=ConsoleRoute, include_in_schema=False)

_HOURS = [f"{hour:02}:00" for hour in range(24)]
_DELIVERED = [2, 1, 0, 0, 1, 3, 8, 15, 31, 44, 52, 49, 38, 41, 47, 50, 36, 28, 19, 12, 9, 6, 4, 3]
_DEAD = [0, 0, 0, 0, 0, 0, 1, 0, 2, 1, 0, 6, 9, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]


@router.get("/console/style")
def style(request: Request) -> Response:
    now = datetime.now(UTC)
    return render(
        request,
        "style.html",
        chart=Chart(
            "Deliveries by the hour",
            _HOURS,
            [Series("delivered", "good", _DELIVERED), Series("dead", "bad", _DEAD)],
        ),
        moments=[now - timedelta(seconds=8), now - timedelta(hours=3), now + timedelta(minutes=10)],
        long="A value that goes on. " * 450,
        hostile='<script>alert("no")</script>',
    )
