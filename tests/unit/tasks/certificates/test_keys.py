from __future__ import annotations

import hashlib
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from etcdfleet.certs import Want, public_key_fingerprint, request_problems, want_for
from etcdfleet.errors import CertificateError, RemoteError
from etcdfleet.settings.pki import KeyType
from tasks.certificates import keys
from tasks.observe import Site
from tests.unit.support import site as plain

FQDN = plain.MEMBERS[0].fqdn
ADDRESS = plain.MEMBERS[0].address


def want(role: str = "server", **more: str) -> Want:
    usages = {"peer": ("server", "client"), "server": ("server",), "client": ("client",)}[role]
    return want_for(
        role,  # type: ignore[arg-type]
        fqdn=FQDN,
        address=ADDRESS,
        usages=usages,  # type: ignore[arg-type]
        trust_anchor="",
        service_name="etcd.k8s.home",
        **more,
    )


@pytest.fixture(name="here")
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(keys, "SETS", str(tmp_path / "sets"))
    return Site(plain.settings(1), plain.LocalHost(), None, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("key_type", ["rsa-2048", "rsa-3072", "rsa-4096", "ec-p256", "ec-p384"])
def test_openssl_makes_every_kind_of_key_and_asks_for_just_the_wanted_names(here: Site, key_type: KeyType) -> None:
    wants = [want("peer"), want("server"), want("client", common_name="root")]
    wants = wants[1:2] if key_type in ("rsa-3072", "rsa-4096") else wants  # they take their time
    made = keys.make_requests(here, wants, key_type)
    assert here.remote.round_trips == 1
    assert list(made) == [one.role for one in wants]
    for one in wants:
        request = made[one.role]
        assert request_problems(one, request.csr, key_type) == ()
        file = Path(request.folder) / f"{FQDN}.key"
        private = serialization.load_pem_private_key(file.read_bytes(), None)
        public = private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        assert request.public_key == public_key_fingerprint(public)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert len({request.public_key for request in made.values()}) == len(wants)


def test_a_name_that_is_too_long_for_a_common_name_is_asked_for_as_a_name_alone(here: Site) -> None:
    long = f"{'x' * 60}.k8s.home"
    one = want_for("peer", fqdn=long, address=ADDRESS, usages=("server", "client"), trust_anchor="")
    csr = keys.make_requests(here, [one], "ec-p256")["peer"].csr
    signed = x509.load_pem_x509_csr(csr.encode())
    assert list(signed.subject) == []
    names = signed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [long]
    assert request_problems(one, csr, "ec-p256") == ()
    assert one.alt_names == (long,)
    assert "instead of an empty one" in request_problems(one, request("x"), "ec-p256")[0]


def test_etcd_gets_through_to_the_sets_when_there_was_no_folder_yet(
    here: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "SETS", str(tmp_path / "certs" / "sets"))
    keys.make_requests(here, [want()], "ec-p256")
    for folder in (tmp_path / "certs", tmp_path / "certs" / "sets"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_a_key_left_by_a_killed_run_is_replaced(here: Site, tmp_path: Path) -> None:
    first = keys.make_requests(here, [want()], "ec-p256")["server"]
    second = keys.make_requests(here, [want()], "ec-p256")["server"]
    assert first.key_sha256 != second.key_sha256
    assert not Path(first.folder).exists()
    assert Path(second.folder).exists()
    keys.discard(here)
    assert list((tmp_path / "sets").iterdir()) == []


def test_a_killed_run_whose_script_goes_on_spoils_no_key_of_the_next(
    here: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "slow"
    slow.touch()
    programs = tmp_path / "bin"
    programs.mkdir()
    openssl = programs / "openssl"
    openssl.write_text(f'#!/bin/sh\nif [ -e {slow} ]; then rm {slow}; sleep 1; fi\nexec /usr/bin/openssl "$@"\n')
    openssl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setattr("etcdfleet.remote.host._PRELUDE", "")
    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(keys.make_requests, here, [want()], "ec-p256")
        while slow.exists():
            time.sleep(0.01)
        request = keys.make_requests(here, [want()], "ec-p256")["server"]
        with pytest.raises(RemoteError):
            killed.result()
    file = Path(request.folder) / f"{FQDN}.key"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == request.key_sha256
    assert list((tmp_path / "sets").iterdir()) == [Path(request.folder).parent]


def test_a_full_disk_is_named_as_that(here: Site, tmp_path: Path) -> None:
    """openssl does not notice that its key was not written, and dash's own printf says "I/O error"."""
    programs = tmp_path / "bin"
    programs.mkdir()
    full = 'for last; do :; done; : >"$last"; ln -sf /dev/full "${last%/*}/said"'
    cast(plain.LocalHost, here.remote).stand_ins(programs, openssl=full)
    with pytest.raises(RemoteError, match="No space left on device") as caught:
        keys.make_requests(here, [want()], "ec-p256")
    assert "free space on that file system" in caught.value.remedy


def test_without_openssl_it_is_said(here: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "rm", "mkdir", "cat", "sha256sum"):
        (programs / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr("etcdfleet.remote.host._PRELUDE", "")
    with pytest.raises(RemoteError, match="making private keys with openssl") as caught:
        keys.make_requests(here, [want()], "ec-p256")
    assert "key_origin: vault" in caught.value.remedy


def request(
    common_name: str = FQDN,
    names: tuple[str, ...] = (FQDN, "etcd.k8s.home"),
    addresses: tuple[str, ...] = (ADDRESS, "127.0.0.1"),
    more: tuple[x509.GeneralName, ...] = (),
    extension: x509.ExtensionType | None = None,
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None = None,
    organisation: str = "",
) -> str:
    import ipaddress

    subject = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organisation:
        subject.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    if alternatives or more:
        builder = builder.add_extension(x509.SubjectAlternativeName([*alternatives, *more]), critical=False)
    if extension is not None:
        builder = builder.add_extension(extension, critical=False)
    signed = builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def test_the_wanted_request_has_no_problem() -> None:
    assert request_problems(want(), request(), "ec-p256") == ()


@pytest.mark.parametrize(
    ("csr", "problem"),
    [
        (request(common_name="root"), "subject is 'CN=root'"),
        (request(organisation="system:masters"), "subject is"),
        (request(names=(FQDN,)), "instead of"),
        (request(names=(FQDN, "etcd.k8s.home", "other.home")), "it is for"),
        (request(addresses=(ADDRESS,)), "it is for"),
        (request(addresses=(ADDRESS, "127.0.0.1", "192.0.2.9")), "192.0.2.9"),
        (request(more=(x509.RFC822Name("root@home.example"),)), "other kinds of names"),
        (request(extension=x509.BasicConstraints(ca=True, path_length=None)), "the extension 2.5.29.19"),
        (request(key=ec.generate_private_key(ec.SECP384R1())), "its key is ec-p384 instead of ec-p256"),
        (request(key=rsa.generate_private_key(65537, 2048)), "its key is rsa-2048"),
        ("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "cannot be read"),
    ],
)
def test_a_host_cannot_ask_for_anything_else(csr: str, problem: str) -> None:
    found = request_problems(want(), csr, "ec-p256")
    assert any(problem in one for one in found), found


def test_a_request_that_differs_is_not_signed(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    other = want("client", common_name="somebody")
    real = keys._request
    monkeypatch.setattr(keys, "_request", lambda _want, key_type: real(other, key_type))
    with pytest.raises(CertificateError, match="not what was asked for: its subject is 'CN=somebody'"):
        keys.make_requests(here, [want("client", common_name="root")], "ec-p256")
