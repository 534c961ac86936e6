"""The whole toolchain of a measurement: every package of the environments it was made in, as a CycloneDX list."""

import json
import platform
from functools import cache
from importlib.metadata import distributions
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

from whetstone.contract.toolkits import Toolkit
from workers.engine.toolkits.environments import packages_in


@cache
def toolchain(toolkit: Toolkit | None = None) -> str:
    """A CycloneDX 1.6 document, with the packages of a toolkit that took part. The same environment gives the same
    text: no time in it, and a number made of it.
    """
    found = {(one.metadata["Name"].lower(), one.version) for one in distributions()}
    packages = sorted(found | set(packages_in(toolkit).items() if toolkit else ()))
    bom = Bom(serial_number=uuid5(NAMESPACE_URL, repr((packages, platform.python_version()))))
    bom.components.update(_package(name, version) for name, version in packages)
    python = platform.python_version()
    bom.components.add(Component(name="python", version=python, type=ComponentType.PLATFORM, bom_ref="python"))
    document = json.loads(make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string())
    del document["metadata"]["timestamp"]
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def _package(name: str, version: str) -> Component:
    """A local build such as `2.13.0+cpu` is part of the version."""
    purl = PackageURL("pypi", None, name, version)
    return Component(name=name, version=version, type=ComponentType.LIBRARY, bom_ref=str(purl), purl=purl)
