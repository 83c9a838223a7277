"""Says what the schemas of Kubernetes have against manifests: check.py FILE...

Prints a JSON list with one entry for each document: file, document, errors. Fields that a schema does not know are errors. The versions are the
oldest that has all that the manifests use, and the newest whose schemas are installed. Called by tests/tests/deployment.
"""

import json
import sys

import kubernetes_validate
import yaml

VERSIONS = ["1.30", "1.37"]


class Loader(yaml.SafeLoader):
    """Refuses keys that stand twice in a map, as the API server's strict decoding does."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def errors(document):
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            where = ".".join(str(part) for part in error.path)
            yield f"{version}: {where}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield f"{version}: {error.message}"


found = []
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as file:
        for document in yaml.load_all(file, Loader):
            # kustomize reads these itself; they are no API objects.
            ours = document["apiVersion"].startswith("kustomize.config.k8s.io/")
            found.append({"file": path, "document": document, "errors": [] if ours else list(errors(document))})
json.dump(found, sys.stdout)
