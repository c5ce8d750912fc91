"""Signatures that let a request in: tokens of the Planetary Computer, and Amazon's for s3. Made anew for each request."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from threading import Lock
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from geoplantnet.errors import ConfigurationError
from geoplantnet.sources.http import Http, Patience, with_environment

PLANETARY_COMPUTER_TOKENS = "https://planetarycomputer.microsoft.com/api/sas/v1/token"
"""Where the Planetary Computer gives a token to anybody: `/{storage account}/{container}` (its documentation, "Using tokens")."""

_AZURE = ".blob.core.windows.net"
_AZURE_PUBLIC = "ai4edatasetspublicassets"  # thumbnails: need no token and have none
_SPARE = 60.0  # seconds before its expiry at which a token is no longer used


class AzureTokens:
    """Adds a token (SAS) to URLs of Azure blobs, asked once a container and again before it expires."""

    def __init__(self, tokens: str = PLANETARY_COMPUTER_TOKENS, *, domain: str = _AZURE) -> None:
        self._tokens, self._domain = tokens.rstrip("/"), domain
        self._known: dict[tuple[str, str], tuple[str, float]] = {}
        self._lock = Lock()

    def __call__(self, method: str, url: str, patience: Patience) -> tuple[str, dict[str, str]]:
        """The URL with its token; any other URL as it is. Raises TryAgain, ConfigurationError."""
        parts = urlsplit(url)
        host, container = parts.hostname or "", parts.path.lstrip("/").split("/")[0]
        if not host.endswith(self._domain) or host.startswith(_AZURE_PUBLIC) or "sig=" in parts.query or not container:
            return url, {}
        token = self._token(host.removesuffix(self._domain), container, patience)
        return f"{url}{'&' if parts.query else '?'}{token}", {}

    def _token(self, account: str, container: str, patience: Patience) -> str:
        key = account, container
        with self._lock:
            token, expires = self._known.get(key, ("", 0.0))
            if expires - _SPARE <= patience.now():
                with closing(Http(patience)) as http:
                    answer = http.json(f"{self._tokens}/{quote(account)}/{quote(container)}", check=_wrong_token)
                token, expires = answer["token"].lstrip("?"), _time(answer["msft:expiry"])
                self._known[key] = token, expires
        return token


def _wrong_token(answer: Any) -> str | None:
    if not isinstance(answer, dict) or not isinstance(answer.get("token"), str) or not answer["token"]:
        return "no token in the answer"
    try:
        _time(answer.get("msft:expiry"))
    except (TypeError, ValueError):
        return f"msft:expiry {answer.get('msft:expiry')!r} is no time"
    return None


def _time(value: Any) -> float:
    return datetime.fromisoformat(value).timestamp()


class S3Signature:
    """Turns s3 addresses into https ones with Amazon's signature, version 4, in headers (AWS General Reference).

    `options` are named as GDAL names them: AWS_NO_SIGN_REQUEST, AWS_REQUEST_PAYER, AWS_REGION, AWS_S3_ENDPOINT (a host, then
    with path style), and AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN. Keys are looked up at each request: as
    ``${NAME}`` among the options, else in the environment.
    """

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        self._options = dict(options or {})

    def __call__(self, method: str, url: str, patience: Patience) -> tuple[str, dict[str, str]]:
        """The https URL and the headers to send. URLs that are not s3 stay as they are. Raises ConfigurationError."""
        parts = urlsplit(url)
        if parts.scheme != "s3":
            return url, {}
        region, endpoint = self._options.get("AWS_REGION", "us-east-1"), self._options.get("AWS_S3_ENDPOINT")
        bucket, path = parts.netloc, quote(unquote(parts.path), safe="/-_.~")
        if not re.fullmatch(r"[A-Za-z0-9._-]{3,255}", bucket):
            raise ConfigurationError(f"{url} names no s3 bucket")
        host = endpoint or f"{bucket}.s3.{region}.amazonaws.com"
        path = f"/{bucket}{path}" if endpoint else path
        more = {"x-amz-request-payer": self._options["AWS_REQUEST_PAYER"]} if "AWS_REQUEST_PAYER" in self._options else {}
        if self._options.get("AWS_NO_SIGN_REQUEST", "").upper() in ("YES", "TRUE", "ON", "1"):
            return f"https://{host}{path}", more
        key_id, key = self._key("AWS_ACCESS_KEY_ID", bucket), self._key("AWS_SECRET_ACCESS_KEY", bucket)
        if "AWS_SESSION_TOKEN" in self._options or (os.environ.get("AWS_SESSION_TOKEN") and "AWS_ACCESS_KEY_ID" not in self._options):
            more["x-amz-security-token"] = self._key("AWS_SESSION_TOKEN", bucket)
        moment = datetime.fromtimestamp(patience.now(), UTC)
        return f"https://{host}{path}", signed_headers(method, host, path, more, moment, region, key_id, key)

    def _key(self, name: str, bucket: str) -> str:
        if name in self._options:
            return with_environment(self._options[name])
        if not os.environ.get(name):
            raise ConfigurationError(
                f"s3 bucket {bucket}: the environment variable {name} is not set; set it, or AWS_NO_SIGN_REQUEST: YES under gdal for a public bucket"
            )
        return os.environ[name]


def signed_headers(
    method: str, host: str, path: str, headers: Mapping[str, str], moment: datetime, region: str, key_id: str, key: str
) -> dict[str, str]:
    """Headers of a request without query and body, with Amazon's signature version 4 for s3. `path` is percent-encoded."""
    stamp, empty = moment.strftime("%Y%m%dT%H%M%SZ"), hashlib.sha256(b"").hexdigest()
    sent = {name.lower(): value for name, value in headers.items()} | {"x-amz-date": stamp, "x-amz-content-sha256": empty}
    covered = dict(sorted((sent | {"host": host}).items()))
    names = ";".join(covered)
    canonical = "\n".join([method, path, "", *(f"{name}:{value.strip()}" for name, value in covered.items()), "", names, empty])
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    derived = f"AWS4{key}".encode()
    for part in (stamp[:8], region, "s3", "aws4_request", to_sign):
        derived = hmac.new(derived, part.encode(), hashlib.sha256).digest()
    authorization = f"AWS4-HMAC-SHA256 Credential={key_id}/{scope}, SignedHeaders={names}, Signature={derived.hex()}"
    return sent | {"Authorization": authorization}
