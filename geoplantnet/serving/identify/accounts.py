"""What an account asked for and may ask: /v2/quota and /v2/subscription."""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from geoplantnet.serving.exceptions import shown
from geoplantnet.serving.identify import schemas
from geoplantnet.serving.identify.desk import Desk, aside, told
from geoplantnet.serving.identify.keys import Caller
from geoplantnet.serving.identify.problems import refuse
from geoplantnet.serving.identify.quota import CATEGORIES, IDENTIFY


def router(desk: Desk) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v2", tags=["account"], responses=schemas.ERRORS)

    @routes.get("/quota", response_model=schemas.QuotaToday)
    async def quota(request: Request) -> Response:
        """What may be asked a day, and what is left of it."""
        caller = await desk.caller(request)
        today = datetime.now(UTC).date()
        used = await aside(lambda: desk.quota.used(caller.user, today.isoformat()))
        return told(request, _day(caller, today, used, today) | {"quota": dict(caller.quotas)})

    @routes.get("/quota/daily", response_model=schemas.QuotaDay)
    async def daily(
        request: Request, day: Annotated[str, Query(max_length=40, description="UTC, ISO 8601; today by default")] = ""
    ) -> Response:
        """What was asked on a day."""
        caller, today = await desk.caller(request), datetime.now(UTC).date()
        try:
            when = date.fromisoformat(day) if day else today
        except ValueError:
            raise refuse(HTTPStatus.BAD_REQUEST, f"day {shown(day)} is no date; write it as 2026-05-31", "parameter") from None
        used = await aside(lambda: desk.quota.used(caller.user, when.isoformat()))
        return told(request, _day(caller, when, used, today))

    @routes.get("/quota/history", response_model=list[schemas.QuotaDay])
    async def history(request: Request, year: Annotated[int | None, Query(ge=1970, le=9998)] = None) -> Response:
        """What was asked on the days of a year on which something was."""
        caller, today = await desk.caller(request), datetime.now(UTC).date()
        days = await aside(lambda: desk.quota.history(caller.user, year or today.year))
        asked = {day: used for day, used in days.items() if used.keys() & set(CATEGORIES)}
        return told(request, [_day(caller, date.fromisoformat(day), used, today) for day, used in asked.items()])

    @routes.get("/subscription", response_model=schemas.Subscription)
    async def subscription(request: Request) -> Response:
        """The account, what it may ask, and what it asked each month of this year."""
        caller, today = await desk.caller(request), datetime.now(UTC).date()
        days = await aside(lambda: desk.quota.history(caller.user, today.year))
        months: dict[str, int] = {}
        for day, used in days.items():
            months[day[:7]] = months.get(day[:7], 0) + used.get(IDENTIFY, 0)
        since = caller.key.created.date().isoformat() if caller.key is not None else today.isoformat()
        account = {"id": caller.user, "username": caller.user if caller.key is not None else "anonymous", "created": since}
        contract = {"plan": "key" if caller.key is not None else "anonymous", "status": "active", "firstSignatureDate": since}
        return told(
            request,
            {
                "account": account,
                "contract": contract | {"indicativeYearlyQuota": caller.quotas[IDENTIFY] * 365},
                "history": [_month(period, count) for period, count in months.items()],
                "security": {"exposeKey": "*" in desk.settings.origins, "ips": [], "domains": list(desk.settings.origins)},
            },
        )

    return routes


def _day(caller: Caller, day: date, used: dict[str, int], today: date) -> dict[str, Any]:
    counts = {category: used.get(category, 0) for category in CATEGORIES}
    left = {category: max(0, caller.quotas[category] - counts[category]) if day >= today else 0 for category in CATEGORIES}
    return {"day": day.isoformat(), "count": counts, "remaining": left}


def _month(period: str, count: int) -> dict[str, Any]:
    year, month = map(int, period.split("-"))
    last = calendar.monthrange(year, month)[1]
    spans = {"startDate": f"{period}-01", "endDate": f"{period}-{last:02d}"}
    return {"period": period, **spans, "count": {"identify": count}, "aboveQuota": {"identify": 0}}
