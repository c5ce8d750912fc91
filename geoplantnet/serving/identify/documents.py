"""/v2/docs: the OpenAPI document as one plain page, without a script and without another host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.responses import HTMLResponse

_STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem;color:#1b1b1b;background:#fff}"
    "code{background:#f2f2f0;padding:.1em .3em;overflow-wrap:anywhere}section{border-top:1px solid #ccc;padding:.5rem 0}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.15rem .6rem .15rem 0}"
)


def router(app: FastAPI) -> APIRouter:
    """The page about the routes of `app`."""
    routes = APIRouter(prefix="/v2")

    @routes.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'"}
        return HTMLResponse(page_of(app.openapi()), headers=policy)

    return routes


def with_keys(app: FastAPI) -> None:
    """Say in the document of `app` how a key is sent, so that clients made from it can; and leave out 422, which is answered 400."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            schemes = {
                "header": {"type": "apiKey", "in": "header", "name": "Api-Key"},
                "query": {"type": "apiKey", "in": "query", "name": "api-key"},
            }
            document.setdefault("components", {})["securitySchemes"] = schemes
            document["security"] = [{"header": []}, {"query": []}, {}]
            for methods in document["paths"].values():
                for told in methods.values():
                    told["responses"].pop("422", None)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]


def page_of(document: Mapping[str, Any]) -> str:
    """HTML of an OpenAPI 3 document: each route with its parameters and answers."""
    info = document["info"]
    body = "".join(_sections(document))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style><main><h1>{escape(info['title'])}</h1>"
        f"<p>{escape(info.get('summary', ''))} For programs: <a href='openapi.json'>openapi.json</a>. A key goes into the header "
        f"<code>Api-Key</code>.</p>{body}</main></html>"
    )


def _sections(document: Mapping[str, Any]) -> Iterator[str]:
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            yield f"<section><h2><code>{escape(method.upper())} {escape(path)}</code></h2><p>{escape(told.get('description', ''))}</p>"
            yield _table("Parameters", [(p["name"], p["in"], p.get("description", "")) for p in told.get("parameters", ())])
            form = told.get("requestBody", {}).get("content", {}).get("multipart/form-data", {}).get("schema", {})
            yield _table("Form", [(name, "", field.get("description", "")) for name, field in form.get("properties", {}).items()])
            yield f"<p>Answers: {escape(', '.join(told['responses']))}</p></section>"


def _table(title: str, rows: list[tuple[str, str, str]]) -> str:
    if not rows:
        return ""
    cells = "".join(f"<tr><th><code>{escape(a)}</code></th><td>{escape(b)}</td><td>{escape(c)}</td></tr>" for a, b, c in rows)
    return f"<h3>{title}</h3><table>{cells}</table>"
