#!/usr/bin/env python3
"""Writes a small fleet repository with `python-tuf`, the reference implementation, and certificates for the tests of the HTTP source.

Run: "$(tests/python/venv)" tests/goldens/fleet/generate.py   (tuf 7.0.1, securesystemslib 1.6.0, cryptography 50.0.2)

`first/` is the repository with generation 1. `second/` is the same one later: generation 2 is released and opened for a tenth of
the devices, the online key has been rotated by a second root, and the snapshot tells lengths and two kinds of digest. Keys come
from fixed seeds and Ed25519 is deterministic, so that a second run writes the same metadata. `tls/` holds a throw-away authority
and a certificate for `localhost`; it is made anew only where it is missing.
"""

import datetime
import hashlib
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import MetaFile

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "../../python"))
from fleet_repository import BUCKETS, full, generation, rollout, root, write  # noqa: E402

# 2100-01-01: the tests bring their own clock.
EXPIRES = datetime.datetime(2100, 1, 1, tzinfo=datetime.timezone.utc)


def key(seed):
    private = ed25519.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed.encode()).digest())
    return CryptoSigner(private)


def keys(online):
    found = {role: [key(f"{role} 1"), key(f"{role} 2")] for role in ("root", "targets", "releases")}
    return found | {role: [key(f"online {online}")] for role in ("snapshot", "timestamp", "rollouts")}


def golden(number, opened):
    manifest = f"# manifest of generation {number}\n".encode()
    document, files = generation(
        "golden",
        number,
        'log = "info"\n',
        [("tiny", f"{number}.0.0", {"manifest.toml": manifest})],
        created=1_767_225_600,
        expires=int(EXPIRES.timestamp()),
        notes=f"Generation {number}, from python-tuf: naïve, 日本語.",
    )
    release = {"wire": 1, "audience": {}} if number == 2 else None
    return number, document, files, release, rollout("golden", number, document, opened=opened, salt=f"push {number}, été 日本")


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


ROOTS = [root(number, EXPIRES, keys(number), keys(number)["root"]) for number in (1, 2)]
FIRST, SECOND = golden(1, BUCKETS), golden(2, BUCKETS // 10)
write(HERE / "first", ROOTS[:1], 1, EXPIRES, keys(1), [FIRST], meta=lambda version, _: MetaFile(version))
write(HERE / "second", ROOTS, 2, EXPIRES, keys(2), [FIRST, SECOND], meta=full)
certificates(HERE / "tls")
