"""What every route under /v1 uses: whose voices are asked about, and how routes are made."""

from __future__ import annotations

from typing import Any

from flask import current_app, g
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.schema import Schema
from flask_openapi.models.tag import Tag
from pydantic import BaseModel

from utils.collections import DEFAULT, Collections
from utils.identification import Identifier
from web.problems import PROBLEMS


def current_identifier() -> Identifier:
    """That of the collection which this request asks (`flask.g.collection`)."""
    collections: Collections = current_app.extensions["galleries"]
    return collections[g.get("collection", DEFAULT)]


def make_blueprint(name: str, about: str, prefix: str | None = "/v1") -> APIBlueprint:
    """Routes that stand together in the OpenAPI file, under `name`."""
    return APIBlueprint(
        name,
        __name__,
        url_prefix=prefix,
        abp_tags=[Tag(name=name, description=about)],
        abp_responses=PROBLEMS,
    )


def component(routes: APIBlueprint, model: type[BaseModel]) -> dict[str, Any]:
    """Puts an answer's schema into the OpenAPI file, for routes that describe answers by hand.

    Returns:
        The reference to it.
    """
    template = "#/components/schemas/{model}"
    schema = model.model_json_schema(mode="serialization", ref_template=template)
    for name, each in {**schema.pop("$defs", {}), model.__name__: schema}.items():
        routes.components_schemas[name] = Schema(**each)
    return {"$ref": template.format(model=model.__name__)}
