"""The routes under /v1: schemas in and out, and one file a kind of question.

`common` finds the identifier of a request's collection and makes the blueprints; `bodies` reads
JSON and forms by one schema. What is decided is decided in `utils`.
"""
