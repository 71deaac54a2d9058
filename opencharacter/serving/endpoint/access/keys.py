"""API keys: which there are, what each may do, and whose a request bears. Only hashes of keys are kept."""

import hmac
import re
import secrets
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from opencharacter.errors import UserError
from opencharacter.serving.endpoint.access.quotas import DAY, MINUTE, Quota, Unit
from opencharacter.yaml_files import load_document, read_text

_KEY_PREFIX = "oc-"
_KEY_BYTES = 32
_HASH_PREFIX = "sha256:"
_HASH = re.compile(rf"{_HASH_PREFIX}[0-9a-f]{{64}}")
_BUCKET_BYTES = 8
_MAX_FILE_BYTES = 1 << 20
_MAX_KEYS = 2000

Amount = Annotated[int, Field(ge=1, le=10**12)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class Limits(BaseModel):
    """How much a key may use; what is not set is not limited."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests_per_minute: Amount | None = None
    tokens_per_minute: Amount | None = None
    tokens_per_day: Amount | None = None
    max_in_flight: Amount | None = None

    def quotas(self, unit: Unit) -> tuple[Quota, ...]:
        """The quotas of requests, or those of tokens."""
        declared = {
            "requests": [(self.requests_per_minute, MINUTE)],
            "tokens": [(self.tokens_per_minute, MINUTE), (self.tokens_per_day, DAY)],
        }
        return tuple(Quota(unit, limit, period) for limit, period in declared[unit] if limit is not None)


class ApiKey(Limits):
    """A key as the keys file describes it."""

    id: str = Field(pattern=r"^[a-z0-9]([-._a-z0-9]{0,61}[a-z0-9])?$", description="its name in logs and metrics")
    hash: str = Field(description="SHA-256 of the key")
    strict: bool | None = Field(default=None, description="none: as the endpoint is set")
    models: frozenset[Name] | None = Field(default=None, description="none: all")
    characters: frozenset[Name] | None = Field(
        default=None, description="ids in the library; none: all, and characters of the caller's own"
    )


@dataclass(frozen=True)
class KeyRules:
    """What a key may do, worked out once."""

    key: ApiKey
    requests: tuple[Quota, ...]
    tokens: tuple[Quota, ...]
    max_in_flight: int | None

    @classmethod
    def of(cls, key: ApiKey, defaults: Limits) -> "KeyRules":
        """The key's own limits, and the defaults where it has none."""
        own = {name: getattr(key, name) for name in Limits.model_fields}
        limits = Limits(**{name: getattr(defaults, name) if value is None else value for name, value in own.items()})
        return cls(key, limits.quotas("requests"), limits.quotas("tokens"), limits.max_in_flight)


class KeysFile(BaseModel):
    """The keys file."""

    model_config = ConfigDict(extra="forbid")

    keys: list[ApiKey] = Field(min_length=1, max_length=_MAX_KEYS)

    @model_validator(mode="after")
    def _hashes_are_hashes(self) -> "KeysFile":
        for number, key in enumerate(self.keys):
            if not _HASH.fullmatch(
                key.hash
            ):  # not as the field's own pattern, whose error would show a key pasted here
                raise ValueError(f"keys.{number}.hash: expected {_HASH_PREFIX} and 64 hexadecimal digits")
        return self

    @model_validator(mode="after")
    def _all_differ(self) -> "KeysFile":
        for what in ("id", "hash"):
            counts = Counter(getattr(key, what) for key in self.keys)
            if twins := sorted(value for value, count in counts.items() if count > 1):
                raise ValueError(f"more than one key has the {what} {twins[0]}")
        return self


def read_keys(path: Path, defaults: Limits) -> "KeyTable":
    """The keys of a file. Raises `UserError` for one that cannot be used."""
    if path.exists() and path.stat().st_size > _MAX_FILE_BYTES:
        raise UserError(f"{path}: larger than {_MAX_FILE_BYTES} bytes")
    hint = "`opencharacter endpoint key new NAME` prints an entry"
    keys = load_document(KeysFile, read_text(path, hint=hint), str(path), hint=hint).keys
    return KeyTable([KeyRules.of(key, defaults) for key in keys])


class KeyTable:
    """Finds the key that a request bears."""

    def __init__(self, keys: list[KeyRules]) -> None:
        # Found by a part of the hash, then compared in constant time. The hash of a random key tells nothing of it.
        self._buckets: dict[bytes, list[tuple[bytes, KeyRules]]] = {}
        for rules in keys:
            digest = bytes.fromhex(rules.key.hash.removeprefix(_HASH_PREFIX))
            self._buckets.setdefault(digest[:_BUCKET_BYTES], []).append((digest, rules))

    def find(self, secret: str) -> KeyRules | None:
        """The rules of the key with that secret, if there is one."""
        digest = sha256(secret.encode("utf-8", "surrogateescape")).digest()
        found = None
        for known, rules in self._buckets.get(digest[:_BUCKET_BYTES], ()):
            if hmac.compare_digest(known, digest):
                found = rules
        return found


def new_key(name: str, **rules: object) -> tuple[str, ApiKey]:
    """A random key, and its entry in the keys file. Raises `UserError` for a rule that cannot be."""
    secret = _KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)
    try:
        return secret, ApiKey.model_validate({"id": name, "hash": hash_of(secret), **rules})
    except ValidationError as error:
        raise UserError("; ".join(f"{each['loc'][0]}: {each['msg']}" for each in error.errors())) from error


def hash_of(secret: str) -> str:
    """What the keys file holds of a key."""
    return _HASH_PREFIX + sha256(secret.encode()).hexdigest()


def add_key(entry: ApiKey, file: Path | None) -> str:
    """The text of a keys file with one more entry, written to the file if there is one.

    Raises `UserError` for a file that cannot be used, which is left as it is.
    """
    text = read_text(file) if file is not None and file.exists() else "keys:\n"
    rules = entry.model_dump(mode="json", exclude={"id", "hash"}, exclude_none=True)
    item = yaml.safe_dump([{"id": entry.id, "hash": entry.hash, **rules}], sort_keys=False)
    text = text.rstrip("\n") + "\n" + item
    load_document(KeysFile, text, str(file or "keys.yaml"), hint="`keys` must be a list with a line for each entry")
    if file is not None:
        file.write_text(text, encoding="utf-8")
    return text
