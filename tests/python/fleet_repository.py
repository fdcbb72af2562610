#!/usr/bin/env python3
"""Writes fleet repositories with `python-tuf`, the reference implementation of The Update Framework.

As a program it makes the life of one fleet, for a daemon that follows it (tests/push/python_tuf.rs):

    fleet_repository.py DIR FLEET PACKAGE PACKAGE

    DIR/first      generation 1 with the first package
    DIR/second     a second root: another root key and another online key; generation 2 with the second package
    DIR/third      a third root: other keys of targets and releases; generation 3, of configuration alone
    DIR/unsigned   the third, and a generation 4 that one of two keys of releases has signed

As a module it is what tests/goldens/fleet/generate.py writes its files with.
"""

import datetime
import hashlib
import json
import re
import shutil
import sys
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

BUCKETS = 1_000_000
ROLES = ("targets", "snapshot", "timestamp")


def dump(metadata, signers):
    """A file of signed metadata."""
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes(JSONSerializer(compact=True))


def root(version, expires, keys, signers):
    """A root that gives each role its `keys`, all of which must sign; signed by `signers`."""
    found = Root(version=version, expires=expires, consistent_snapshot=True)
    for role in ("root", *ROLES):
        for signer in keys[role]:
            found.add_key(signer.public_key, role)
        found.roles[role].threshold = len(keys[role])
    return dump(Metadata(found), signers)


def generation(fleet, number, config, packages, *, created, expires, notes):
    """A generation's document, and the files that it names by their digests. A package is its name, its version and its files by path."""
    files, lists = {}, []
    for name, version, contents in packages:
        entries = []
        for path, content in contents.items():
            sha256 = hashlib.sha256(content).hexdigest()
            files[sha256] = content
            entries.append({"path": path, "bytes": len(content), "sha256": sha256})
        lists.append({"name": name, "version": version, "files": entries})
    content = {
        "wire": 1,
        "fleet": fleet,
        "number": number,
        "created_secs": created,
        "expires_secs": expires,
        "config_version": 1,
        "config": config,
        "packages": lists,
        "audience": {},
        "notes": notes,
    }
    return json.dumps(content, ensure_ascii=False, indent=1).encode(), files


def rollout(fleet, number, document, *, opened, salt):
    """How far a generation is open."""
    return {
        "wire": 1,
        "fleet": fleet,
        "number": number,
        "sha256": hashlib.sha256(document).hexdigest(),
        "to": {},
        "salt": salt,
        "opened": opened,
        "wave": 1,
        "paused": False,
        "attempt": 1,
    }


def target(path, content, custom):
    """The entry of a target, with what Linnet says of it."""
    found = TargetFile.from_data(path, content, ["sha256", "sha512"])
    if custom is not None:
        found.unrecognized_fields["custom"] = {"linnet": custom}
    return found


def full(version, content):
    """Version, length and two kinds of digest."""
    return MetaFile.from_data(version, content, ["sha256", "sha512"])


def write(directory, roots, version, expires, keys, generations, meta=full, releases_by=None):
    """A repository of these roots, whose other metadata have `version`. `generations` are number, document, files, release and rollout each;
    `meta` says what a snapshot and a timestamp tell of a file; `releases_by` are other signers of releases than its keys."""
    shutil.rmtree(directory, ignore_errors=True)
    for sub in ("metadata", "targets/generations", "files"):
        (directory / sub).mkdir(parents=True)

    def put(name, content):
        (directory / "metadata" / name).write_bytes(content)

    for number, content in enumerate(roots, 1):
        put(f"{number}.root.json", content)

    releases, rollouts = Targets(version=version, expires=expires), Targets(version=version, expires=expires)
    for number, content, files, release, opened in generations:
        sha256 = hashlib.sha256(content).hexdigest()
        (directory / f"targets/generations/{sha256}.{number}.json").write_bytes(content)
        for digest, data in files.items():
            (directory / "files" / digest).write_bytes(data)
        path = f"generations/{number}.json"
        releases.targets[path] = target(path, content, release)
        path = f"rollouts/{number}.json"
        rollouts.targets[path] = target(path, b"", opened)

    delegations = Delegations({}, {})
    for name in ("releases", "rollouts"):
        keyids = [signer.public_key.keyid for signer in keys[name]]
        delegations.roles[name] = DelegatedRole(name, keyids, len(keyids), False, paths=[f"{path_of(name)}/*"])
        for signer in keys[name]:
            delegations.keys[signer.public_key.keyid] = signer.public_key
    targets = Targets(version=version, expires=expires, delegations=delegations)

    snapshot = Snapshot(version=version, expires=expires, meta={})
    for name, role, signers in (
        ("targets", targets, keys["targets"]),
        ("releases", releases, releases_by or keys["releases"]),
        ("rollouts", rollouts, keys["rollouts"]),
    ):
        content = dump(Metadata(role), signers)
        put(f"{version}.{name}.json", content)
        snapshot.meta[f"{name}.json"] = meta(version, content)
    content = dump(Metadata(snapshot), keys["snapshot"])
    put(f"{version}.snapshot.json", content)
    timestamp = Timestamp(version=version, expires=expires, snapshot_meta=meta(version, content))
    put("timestamp.json", dump(Metadata(timestamp), keys["timestamp"]))


def path_of(role):
    """Where a delegated role's targets lie."""
    return {"releases": "generations", "rollouts": "rollouts"}[role]


def package(directory):
    """A package in a directory."""
    contents = {str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}
    manifest = contents["manifest.toml"].decode()
    said = {key: re.search(f'^{key} = "(.*)"$', manifest, re.MULTILINE)[1] for key in ("name", "version")}
    return said["name"], said["version"], contents


def life(directory, fleet, first, second):
    """The fleet's life; see above."""
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    expires = now + datetime.timedelta(days=1)
    new = CryptoSigner.generate_ed25519
    online, root_keys = new(), [new(), new()]
    keys = {"root": root_keys, "targets": [new()], "releases": [new(), new()]}
    keys |= {role: [online] for role in ("snapshot", "timestamp", "rollouts")}
    roots = [root(1, expires, keys, root_keys)]

    def made(number, config, packages):
        secs = int(now.timestamp())
        document, files = generation(
            fleet, number, config, packages, created=secs, expires=secs + 86_400, notes=f"{number}, from python-tuf: 日本語"
        )
        opened = rollout(fleet, number, document, opened=BUCKETS, salt=f"push {number}")
        return number, document, files, {"wire": 1, "audience": {}}, opened

    generations = [made(1, "[limits]\nmax_upload_mib = 7\n", [package(first)])]
    write(directory / "first", roots, 1, expires, keys, generations)

    # One of the root's keys and the online key are given up: the old keys and the new ones sign for it.
    keys = keys | {"root": [root_keys[0], new()]} | {role: [new()] for role in ("snapshot", "timestamp", "rollouts")}
    roots.append(root(2, expires, keys, [*root_keys, keys["root"][1]]))
    generations.append(made(2, "[limits]\nmax_upload_mib = 8\n", [package(second)]))
    write(directory / "second", roots, 2, expires, keys, generations)

    keys = keys | {"targets": [new(), new()], "releases": [new(), new()]}
    roots.append(root(3, expires, keys, keys["root"]))
    generations.append(made(3, "[limits]\nmax_upload_mib = 9\n", []))
    write(directory / "third", roots, 3, expires, keys, generations)

    generations.append(made(4, "[limits]\nmax_upload_mib = 10\n", []))
    write(directory / "unsigned", roots, 4, expires, keys, generations, releases_by=keys["releases"][:1])


if __name__ == "__main__":
    life(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
