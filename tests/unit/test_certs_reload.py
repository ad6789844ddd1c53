"""A mounted certificate is followed, and a bad one never replaces a good one."""

import asyncio
import logging
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from certs.issue import KeyPair
from certs.reload import CertificateError, ServingCertificate
from tests.unit.webhook_bed import Mount, an_authority, client_context, leaf_of


@pytest.fixture
def authority() -> KeyPair:
    return an_authority()


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    return Mount(tmp_path)


async def served_by(
    certificate: ServingCertificate,
    authority: KeyPair,
    *,
    host: str = "localhost",
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> bytes:
    """Return the PEM that a verifying client is shown in one real handshake."""

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    client = client_context(authority)
    client.maximum_version = version
    server = await asyncio.start_server(
        close, "127.0.0.1", 0, ssl=certificate.context, ssl_handshake_timeout=5
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client, server_hostname=host
        )
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
    shown = x509.load_der_x509_certificate(der)
    return shown.public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_new_pair_is_served_to_the_next_handshake(
    authority: KeyPair, mount: Mount, host: str, version: ssl.TLSVersion
) -> None:
    """With a server name and, for an address, without one."""
    old, new = leaf_of(authority), leaf_of(authority)
    mount.publish_pair(old)
    certificate = ServingCertificate(mount.certificate, mount.key)
    before = await served_by(certificate, authority, host=host, version=version)
    mount.publish_pair(new)
    assert certificate.reload()
    after = await served_by(certificate, authority, host=host, version=version)
    assert (before, after) == (old.certificate_pem, new.certificate_pem)


async def test_bad_pair_leaves_the_old_one_serving_and_is_logged_once(
    authority: KeyPair, mount: Mount, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = leaf_of(authority), leaf_of(authority)
    encrypted = serialization.load_pem_private_key(
        new.private_key_pem, password=None
    ).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    bad_pairs = {
        "key of another certificate": (new.certificate_pem, old.private_key_pem),
        "half-written key": (new.certificate_pem, new.private_key_pem[:60]),
        "empty certificate": (b"", new.private_key_pem),
        "garbage": (b"\x00garbage", b"\xff"),
        "encrypted key": (new.certificate_pem, encrypted),
    }
    mount.publish_pair(old)
    certificate = ServingCertificate(mount.certificate, mount.key)
    for name, (certificate_pem, key_pem) in bad_pairs.items():
        caplog.clear()
        mount.publish(certificate=certificate_pem, key=key_pem)
        assert not certificate.reload(), name
        assert not certificate.reload(), name
        assert await served_by(certificate, authority) == old.certificate_pem, name
        assert [r.levelno for r in caplog.records] == [logging.WARNING], name
        assert "PRIVATE" not in caplog.text
    mount.publish_pair(new)
    assert certificate.reload()
    assert await served_by(certificate, authority) == new.certificate_pem


async def test_pair_that_vanishes_and_returns_is_served_throughout(
    authority: KeyPair, mount: Mount
) -> None:
    pair = leaf_of(authority)
    mount.publish_pair(pair)
    certificate = ServingCertificate(mount.certificate, mount.key)
    mount.key.unlink()
    assert not certificate.reload()
    assert await served_by(certificate, authority) == pair.certificate_pem


async def test_unchanged_pair_is_not_loaded_again(
    authority: KeyPair, mount: Mount
) -> None:
    """A remount of the same content is no renewal."""
    pair = leaf_of(authority)
    mount.publish_pair(pair)
    certificate = ServingCertificate(mount.certificate, mount.key)
    mount.publish_pair(pair)
    assert not certificate.reload()


async def test_watch_picks_up_a_renewal_by_itself(
    authority: KeyPair, mount: Mount, caplog: pytest.LogCaptureFixture
) -> None:
    """The log then names the new certificate's serial number."""
    caplog.set_level(logging.INFO)
    mount.publish_pair(leaf_of(authority))
    certificate = ServingCertificate(mount.certificate, mount.key)
    watching = asyncio.create_task(certificate.watch(interval=0.001))
    new = leaf_of(authority)
    mount.publish_pair(new)
    async with asyncio.timeout(10):
        shown = b""
        while shown != new.certificate_pem:
            shown = await served_by(certificate, authority)
    watching.cancel()
    serial = x509.load_pem_x509_certificate(new.certificate_pem).serial_number
    assert f"{serial:x}" in caplog.text


def test_unusable_pair_at_the_start_is_an_error_that_names_the_files(
    tmp_path: Path,
) -> None:
    with pytest.raises(CertificateError, match=r"absent\.crt.*absent\.key"):
        ServingCertificate(tmp_path / "absent.crt", tmp_path / "absent.key")


def test_context_speaks_no_tls_below_1_2(authority: KeyPair, mount: Mount) -> None:
    mount.publish_pair(leaf_of(authority))
    certificate = ServingCertificate(mount.certificate, mount.key)
    assert certificate.context.minimum_version == ssl.TLSVersion.TLSv1_2
