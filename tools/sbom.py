"""The software bill of materials: the lock file as a CycloneDX document.

Says which packages an installation gets and which of them needs which, as `requirements.lock`
says it, and each one's licence, as the package itself says it: of those that are installed here
in the locked version. Names no address. The same lock, packages, version and time give the same
bytes.
"""

import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, metadata

from cyclonedx.model import Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.contact import OrganizationalEntity
from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

#: So that the serial number is this document's, and the same each time.
_NAMESPACE = uuid.UUID("9f1a5f3e-6c0e-4c1f-8a0f-0a1d5f4c2b77")
_ENTRY = re.compile(r"^(?P<name>[a-z0-9][\w.-]*)(?:\[[^\]]*\])?==(?P<version>[^\s;\\]+)")
_PROJECT = "aftercall"


@dataclass(frozen=True, slots=True)
class Locked:
    """One package of the lock file."""

    name: str
    version: str
    marker: str  #: on which machines; "" for all
    needed_by: tuple[str, ...]


def read_lock(text: str) -> list[Locked]:
    """Every package of a lock file as uv writes it."""
    return [_locked(lines) for lines in _entries(text)]


def make_sbom(lock: str, *, version: str, made_at: datetime) -> str:
    """The document, as JSON."""
    packages = read_lock(lock)
    project = _component(_PROJECT, version, ComponentType.APPLICATION)
    project.licenses.add(LicenseExpression("Apache-2.0"))
    components = {one.name: _library(one) for one in packages}
    bom = Bom(
        serial_number=uuid.uuid5(_NAMESPACE, f"{version}\n{lock}"),
        components=components.values(),
        metadata=BomMetaData(
            timestamp=made_at,
            component=project,
            manufacturer=OrganizationalEntity(name="the aftercall team"),
        ),
    )
    needs = _needs(packages)
    for name, component in {_PROJECT: project, **components}.items():
        bom.register_dependency(component, [components[one] for one in needs.get(name, ())])
    made = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6)
    return str(made.output_as_string(indent=2)) + "\n"


def _entries(text: str) -> Iterator[list[str]]:
    entry: list[str] = []
    for line in text.splitlines():
        if _ENTRY.match(line):
            if entry:
                yield entry
            entry = []
        entry.append(line)
    if entry:
        yield entry


def _locked(lines: list[str]) -> Locked:
    first = _ENTRY.match(lines[0])
    if first is None:
        raise ValueError(f"No locked requirement begins with {lines[0]!r}")
    _, _, marker = lines[0].rstrip(" \\").partition(" ; ")
    comments = [line.strip().removeprefix("#").strip() for line in lines[1:] if "#" in line]
    needed_by = [one.removeprefix("via").strip() for one in comments]
    return Locked(
        first["name"],
        first["version"],
        marker,
        tuple(one.split(" ")[0] for one in needed_by if one and not one.startswith("-")),
    )


def _needs(packages: list[Locked]) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for package in packages:
        for needer in package.needed_by:
            found.setdefault(needer, []).append(package.name)
    return found


def _library(package: Locked) -> Component:
    component = _component(package.name, package.version, ComponentType.LIBRARY)
    component.licenses.update(licences_of(package))
    if package.marker:
        component.properties.add(Property(name="aftercall:only", value=package.marker))
    return component


def licences_of(package: Locked) -> list[LicenseExpression | DisjunctiveLicense]:
    """What its metadata says: an SPDX expression, else its own words, else its classifiers."""
    try:
        said = metadata(package.name)
    except PackageNotFoundError:
        return []
    if said["Version"] != package.version:
        return []
    if expression := said["License-Expression"]:
        return [LicenseExpression(expression)]
    words = (said["License"] or "").strip()
    # Some put the licence's whole text there.
    if words and "\n" not in words:
        return [DisjunctiveLicense(name=words)]
    prefix = "License :: OSI Approved :: "
    classifiers = said.get_all("Classifier", [])
    return [
        DisjunctiveLicense(name=one.removeprefix(prefix))
        for one in classifiers
        if one.startswith(prefix)
    ]


def _component(name: str, version: str, type_: ComponentType) -> Component:
    purl = PackageURL("pypi", None, name, version)
    return Component(name=name, version=version, type=type_, purl=purl, bom_ref=str(purl))
