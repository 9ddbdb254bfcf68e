"""Twenty2's limit: so many requests in any minute, for each workspace."""

from datetime import timedelta

from aftercall.rate_limit import Lane

#: Their minute and a second: a request may take a while from its permit to their door, and the
#: next may be quicker. Costs 1.6 % of the allowance; three quarters of a second were too few on a
#: busy machine, where 40 of 900 requests were refused (docs/benchmarks.md).
WINDOW = timedelta(seconds=61)


def workspace_lane(workspace_id: str, *, requests_per_minute: int) -> Lane:
    return Lane(f"workspace:{workspace_id}", requests_per_minute, WINDOW)
