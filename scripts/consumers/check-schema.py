"""Checks each document of a YAML file against a JSON Schema (Talos) or the schema in a CustomResourceDefinition (OpenShift):

    check-schema.py SCHEMA FILE [KIND]

KIND picks the documents that a definition is for. Members that the schema does not have are errors. Exit status 1 with the first fault.
"""
import json
import sys

import jsonschema
import yaml


def close(schema):
    """Makes every object of a definition refuse members that it does not name: the API server would drop them with a warning."""
    if isinstance(schema, dict):
        if "properties" in schema and schema.get("type") == "object":
            schema.setdefault("additionalProperties", False)
        for value in schema.values():
            close(value)
    return schema


schema_file, file, *kind = sys.argv[1:]
with open(schema_file) as text:
    schema = yaml.safe_load(text) if schema_file.endswith(".yaml") else json.load(text)
if schema.get("kind") == "CustomResourceDefinition":
    schema = close(schema["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
with open(file) as text:
    documents = [it for it in yaml.safe_load_all(text) if not kind or it["kind"] == kind[0]]
if not documents:
    sys.exit(f"{file} has no document to check")
for document in documents:
    fault = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(document))
    if fault:
        sys.exit(f"{'/'.join(map(str, fault.absolute_path))}: {fault.message}")
