#!/usr/bin/env python3
"""Writes a small fleet repository with `python-tuf`, the reference implementation, and certificates for the tests of the HTTP source.

Run: python3 tests/goldens/fleet/generate.py   (tuf 7.0.1, securesystemslib 1.6.0, cryptography 50.0.2)

`first/` is the repository with generation 1. `second/` is the same one later: generation 2 is released and opened for a tenth of
the devices, the online key has been rotated by a second root, and the snapshot tells lengths and two kinds of digest. Keys come
from fixed seeds and Ed25519 is deterministic, so that a second run writes the same metadata. `tls/` holds a throw-away authority
and a certificate for `localhost`; it is made anew only where it is missing.
"""

import datetime
import hashlib
import json
import shutil
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID
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

HERE = Path(__file__).parent
# 2100-01-01: the tests bring their own clock.
EXPIRES = datetime.datetime(2100, 1, 1, tzinfo=datetime.timezone.utc)
BUCKETS = 1_000_000


def key(seed):
    private = ed25519.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed.encode()).digest())
    return CryptoSigner(private)


ROOT = [key("root 1"), key("root 2")]
TARGETS = [key("targets 1"), key("targets 2")]
RELEASES = [key("releases 1"), key("releases 2")]
ONLINE = {1: key("online 1"), 2: key("online 2")}


def dump(metadata, signers):
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes(JSONSerializer(compact=True))


def generation(number):
    manifest = f"# manifest of generation {number}\n".encode()
    sha256 = hashlib.sha256(manifest).hexdigest()
    content = {
        "wire": 1,
        "fleet": "golden",
        "number": number,
        "created_secs": 1_767_225_600,
        "expires_secs": int(EXPIRES.timestamp()),
        "config_version": 1,
        "config": 'log = "info"\n',
        "packages": [
            {
                "name": "tiny",
                "version": f"{number}.0.0",
                "files": [{"path": "manifest.toml", "bytes": len(manifest), "sha256": sha256}],
            }
        ],
        "audience": {},
        "notes": f"Generation {number}, from python-tuf: naïve, 日本語.",
    }
    return json.dumps(content, ensure_ascii=False, indent=1).encode(), {sha256: manifest}


def rollout(number, sha256, opened):
    return {
        "wire": 1,
        "fleet": "golden",
        "number": number,
        "sha256": sha256,
        "to": {},
        "salt": f"push {number}, été 日本",
        "opened": opened,
        "wave": 1,
        "paused": False,
        "attempt": 1,
    }


def target(path, content, custom):
    found = TargetFile.from_data(path, content, ["sha256", "sha512"])
    if custom is not None:
        found.unrecognized_fields["custom"] = {"linnet": custom}
    return found


def write(directory, root_versions, version, opened, meta):
    shutil.rmtree(directory, ignore_errors=True)
    for sub in ("metadata", "targets/generations", "files"):
        (directory / sub).mkdir(parents=True)

    def put(name, content):
        (directory / "metadata" / name).write_bytes(content)

    for number in range(1, root_versions + 1):
        root = Root(version=number, expires=EXPIRES, consistent_snapshot=True)
        for signer in ROOT:
            root.add_key(signer.public_key, "root")
        for signer in TARGETS:
            root.add_key(signer.public_key, "targets")
        for role in ("snapshot", "timestamp"):
            root.add_key(ONLINE[number].public_key, role)
        root.roles["root"].threshold = 2
        root.roles["targets"].threshold = 2
        put(f"{number}.root.json", dump(Metadata(root), ROOT))
    online = ONLINE[root_versions]

    releases, rollouts = Targets(version=version, expires=EXPIRES), Targets(version=version, expires=EXPIRES)
    for number, share in opened.items():
        content, files = generation(number)
        sha256 = hashlib.sha256(content).hexdigest()
        (directory / f"targets/generations/{sha256}.{number}.json").write_bytes(content)
        for digest, data in files.items():
            (directory / "files" / digest).write_bytes(data)
        path = f"generations/{number}.json"
        releases.targets[path] = target(path, content, {"wire": 1, "audience": {}} if number == 2 else None)
        path = f"rollouts/{number}.json"
        rollouts.targets[path] = target(path, b"", rollout(number, sha256, share))

    delegations = Delegations({}, {})
    for name, signers, paths, threshold in (
        ("releases", RELEASES, ["generations/*"], 2),
        ("rollouts", [online], ["rollouts/*"], 1),
    ):
        keyids = [signer.public_key.keyid for signer in signers]
        delegations.roles[name] = DelegatedRole(name, keyids, threshold, False, paths=paths)
        for signer in signers:
            delegations.keys[signer.public_key.keyid] = signer.public_key
    targets = Targets(version=version, expires=EXPIRES, delegations=delegations)

    snapshot = Snapshot(version=version, expires=EXPIRES, meta={})
    for name, role, signers in (
        ("targets", targets, TARGETS),
        ("releases", releases, RELEASES),
        ("rollouts", rollouts, [online]),
    ):
        content = dump(Metadata(role), signers)
        put(f"{version}.{name}.json", content)
        snapshot.meta[f"{name}.json"] = meta(version, content)
    content = dump(Metadata(snapshot), [online])
    put(f"{version}.snapshot.json", content)
    timestamp = Timestamp(version=version, expires=EXPIRES, snapshot_meta=meta(version, content))
    put("timestamp.json", dump(Metadata(timestamp), [online]))


def certificates(directory):
    if directory.exists():
        return
    directory.mkdir()
    name = lambda text: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
    pem = serialization.Encoding.PEM
    begin = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    authority, server = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def certificate(subject, public, extensions):
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("linnet tests"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(EXPIRES)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(authority, hashes.SHA256()).public_bytes(pem)

    is_ca = [(x509.BasicConstraints(ca=True, path_length=0), True)]
    localhost = [(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)]
    (directory / "ca.pem").write_bytes(certificate("linnet tests", authority.public_key(), is_ca))
    (directory / "server.pem").write_bytes(certificate("localhost", server.public_key(), localhost))
    private = server.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "server.key").write_bytes(private)


def full(version, content):
    return MetaFile.from_data(version, content, ["sha256", "sha512"])


write(HERE / "first", 1, 1, {1: BUCKETS}, lambda version, _: MetaFile(version))
write(HERE / "second", 2, 2, {1: BUCKETS, 2: BUCKETS // 10}, full)
certificates(HERE / "tls")
