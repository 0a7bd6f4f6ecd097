"""Why a store failed, from what obstore says; the texts are recorded, and shortened where nothing depends on it."""

from __future__ import annotations

import pytest

from etcdfleet.backup.explain import explain, in_clear

ASKED = "Generic S3 error: Error performing list request: Error performing GET https://s3.example/b?list-type=2 in 1ms"
SENDING = f"{ASKED}, after 3 retries, max_retries: 3, retry_timeout: 40s  - HTTP error: error sending request\n\n"
METADATA = (
    "Error performing token request: Error performing GET http://169.254.169.254/{} in 1ms, after 3 retries,"
    " max_retries: 3, retry_timeout: 40s  - HTTP error: error sending request"
)


def answered(status: str, body: str) -> str:
    return f"{ASKED} - Server returned non-2xx status code: {status}: {body}\n\nDebug source:\nGeneric {{ .. }}"


def connect(error: str) -> str:
    return f"{SENDING}Debug source:\nGeneric {{\n  inner: Http(\n  source: hyper_util::client::legacy::Error(\n{error}"


@pytest.mark.parametrize(
    ("text", "why", "remedy"),
    [
        (
            answered(
                "403 Forbidden",
                '<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code><Message>No.</Message></Error>',
            ),
            "it answers 403 Forbidden (AccessDenied: No.)",
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of an account that may",
        ),
        (
            answered("403 Forbidden", "<Error><Code>AuthFailure</Code><Message>No.\nRequestId:1</Message></Error>"),
            "it answers 403 Forbidden (AuthFailure: No.)",
            "set AWS_ACCESS_KEY_ID",
        ),
        (
            answered("404 Not Found", "<Error>\n <Code>NoSuchBucket</Code>\n <Message>None.</Message>\n</Error>"),
            "it answers 404 Not Found (NoSuchBucket: None.)",
            "make the bucket",
        ),
        (
            answered("404 Not Found", "<Error>\n <Code>NoSuchKey</Code>\n</Error>"),
            "it answers 404 Not Found (NoSuchKey)",
            "it was there a moment ago",
        ),
        (answered("404 Not Found", ""), "it answers 404 Not Found", "make the bucket"),
        (
            answered("400 Bad Request", "Client sent an HTTP request to an HTTPS server.\n"),
            "it answers 400 Bad Request (Client sent an HTTP request to an HTTPS server.)",
            "look at the store, and at AWS_ENDPOINT_URL",
        ),
        (
            answered("401 Unauthorized", '{"error":{"code":401,"message":"Invalid Credentials","errors":[]}}'),
            "it answers 401 Unauthorized (Invalid Credentials)",
            "set AWS_ACCESS_KEY_ID",
        ),
        (
            connect('ConnectError(\n"tcp connect error",\n  192.0.2.7:3128,\n  Os {\n kind: ConnectionRefused,'),
            "192.0.2.7:3128 refuses connections",
            "start it; look at AWS_ENDPOINT_URL, and at HTTPS_PROXY",
        ),
        (
            connect('ConnectError(\n  "dns error",\n  Custom {\n  error: "failed to lookup address information"'),
            "its name has no address",
            "look at AWS_ENDPOINT_URL",
        ),
        (connect("Connect,\n  TimedOut,"), "it does not answer in time", "look at AWS_ENDPOINT_URL"),
        (
            connect("InvalidCertificate(\n   UnknownIssuer,\n"),
            "its certificate is of a CA that this machine does not trust",
            "add its CA to those that this machine trusts, or name the file of that CA in SSL_CERT_FILE",
        ),
        (
            connect("InvalidCertificate(\n   ExpiredContext {\n"),
            "its certificate is refused: ExpiredContext",
            "look at AWS_ENDPOINT_URL",
        ),
        (connect("kind: Builder,\n source: BadScheme,"), "it is without TLS", "use https, or set AWS_ALLOW_HTTP=true"),
        (
            f"Generic S3 error: {METADATA.format('latest/api/token')}",
            "the environment has no keys for it",
            "set AWS_ACC",
        ),
        (
            "Generic S3 error: something new\n\nDebug",
            "Generic S3 error: something new",
            "look at the store; look at AWS",
        ),
        ("", "it did not say why", "look at the store"),
    ],
)
def test_s3(text: str, why: str, remedy: str) -> None:
    said = explain(text, "s3")
    assert said[0] == why
    assert said[1].startswith(remedy)


@pytest.mark.parametrize(
    ("scheme", "text", "why", "remedy"),
    [
        ("gs", METADATA.format("computeMetadata/v1/x"), "the environment has no keys for it", "set GOOGLE_APPL"),
        (
            "gs",
            "Generic GCS error: Unable to open service account file from /x: No such file or directory (os error 2)",
            "Generic GCS error: Unable to open service account file from /x: No such file or directory (os error 2)",
            "correct GOOGLE_APPLICATION_CREDENTIALS",
        ),
        (
            "az",
            "Generic MicrosoftAzure error: Account must be specified\n\nDebug source:\n source: MissingAccount,",
            "the environment has no keys for it",
            "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
        ),
        (
            "az",
            "Generic MicrosoftAzure error: Invalid Access Key: Invalid symbol 32, offset 3.",
            "Generic MicrosoftAzure error: Invalid Access Key: Invalid symbol 32, offset 3.",
            "correct AZURE_STORAGE_ACCOUNT_NAME",
        ),
        ("file", "[Errno 2] No such file: '/x'", "[Errno 2] No such file: '/x'", "look at that folder: is the disk"),
    ],
)
def test_the_others(scheme: str, text: str, why: str, remedy: str) -> None:
    said = explain(text, scheme)
    assert said[0] == why
    assert said[1].startswith(remedy)


def test_each_store_has_a_variable_of_its_own_that_allows_it_without_tls() -> None:
    assert [in_clear(scheme) for scheme in ("s3", "gs", "az", "file")] == [
        "AWS_ALLOW_HTTP",
        "GOOGLE_ALLOW_HTTP",
        "AZURE_ALLOW_HTTP",
        "",
    ]
