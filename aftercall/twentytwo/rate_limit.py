"""Twenty2's limit: so many requests in any minute, for each workspace."""

from datetime import timedelta

from aftercall.rate_limit import Lane

#: Their minute and half a second. From its permit to their door a request takes `PROMPT` at most,
#: or counts from its end; the rest is for clocks that run apart. Costs 0.8 % of the allowance.
WINDOW = timedelta(seconds=60.5)


def workspace_lane(workspace_id: str, *, requests_per_minute: int) -> Lane:
    return Lane(f"workspace:{workspace_id}", requests_per_minute, WINDOW)
