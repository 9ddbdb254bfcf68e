"""/docs: the OpenAPI page, with Swagger UI from a package; nothing is fetched from elsewhere."""

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles


def install_docs(app: FastAPI) -> None:
    """The page and its assets."""
    assets = StaticFiles(packages=[("fastapi_swagger", "resources")])
    app.mount("/docs/assets", assets, name="docs-assets")

    @app.get("/docs", include_in_schema=False)
    def docs(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "").rstrip("/")
        return get_swagger_ui_html(
            openapi_url=f"{root}{app.openapi_url}",
            title=app.title,
            swagger_js_url=f"{root}/docs/assets/swagger-ui-bundle.js",
            swagger_css_url=f"{root}/docs/assets/swagger-ui.css",
            swagger_favicon_url=f"{root}/docs/assets/favicon-32x32.png",
            # The admin token is not left behind in the browser.
            swagger_ui_parameters={"persistAuthorization": False, "filter": True},
        )
