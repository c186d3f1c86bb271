"""Every setting of the service: from the environment (OCORE_…), or from a TOML file.

`docs/settings.md` is made from this file by `ocore settings --markdown`; a test compares the two.
"""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

import ocore

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "OCORE_"
FILE = "ocore.toml"


def default_home() -> Path:
    """Return where the service keeps its files unless it is told otherwise: beside the command line's own state."""
    given = os.environ.get("XDG_STATE_HOME", "")
    base = Path(given) if given.startswith("/") else Path.home() / ".local" / "state"
    return base / "ocore"


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


Seconds = Annotated[float, Field(gt=0)]
Text = Annotated[str, Field(min_length=1, max_length=200)]


def _https(url: str) -> str:
    parts = urlsplit(url)
    plain = url.isascii() and url.isprintable() and " " not in url
    if not plain or parts.scheme != "https" or not parts.hostname or "@" in parts.netloc or parts.port == 0:
        raise ValueError("must be an https:// address, without a password in it")
    return url


class Issuer(BaseModel):
    """An issuer whose tokens are taken beside ours, and what the claims of its tokens mean here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: Text
    audience: Text
    jwks_url: Annotated[str, AfterValidator(_https)]
    algorithms: Annotated[tuple[Literal["RS256", "ES256", "EdDSA"], ...], Field(min_length=1)]
    # A name, or the names that lead to a claim within others.
    organization_claim: Text | tuple[Text, ...] = "org"
    permissions_claim: Text | tuple[Text, ...] = "permissions"
    # What the texts of that claim allow here; empty: it has our own permissions' names.
    grants: dict[str, Literal["view:servers", "manage:servers"]] = Field(default_factory=dict)
    # The organizations that it may speak for, as the claim has them; empty: all.
    organizations: tuple[Text, ...] = ()


class Settings(BaseSettings):
    """The service's settings. What is given in the environment goes before the file."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, env_ignore_empty=True
    )

    # Where things are
    home: Annotated[Path, AfterValidator(_absolute)] = Field(
        default_factory=default_home, description="Folder of the embedded databases, the keys and the settings file."
    )
    database_url: str = Field(
        "",
        description="The database, as `postgresql://USER:PASSWORD@HOST/NAME`; empty: the SQLite file ocore.db in home.",
        repr=False,
    )
    queue_url: str = Field(
        "",
        description="Where Huey's queue is: `redis://HOST:PORT/N`, or `postgresql://…` as the database; empty: the "
        "SQLite file queue.db in home.",
        repr=False,
    )
    host: str = Field("127.0.0.1", description="Address that the API listens at.")
    port: int = Field(8000, ge=0, le=65535, description="Port that the API listens at; 0: any free one.")

    # Keys and tokens
    encryption_keys: SecretStr | None = Field(
        None, description="The ring of encryption keys as JSON, instead of the file encryption-keys.json in home."
    )
    token_keys: SecretStr | None = Field(
        None, description="The ring of token keys as JSON, instead of the file token-keys.json in home."
    )
    receipt_keys: SecretStr | None = Field(
        None, description="The ring of keys that sign receipts as JSON, instead of the file receipt-keys.json in home."
    )
    token_issuer: str = Field("ocore", description="The claim `iss` of our tokens.")
    token_audience: str = Field("ocore-api", description="The claim `aud` of our tokens.")
    token_max_days: int = Field(366, ge=1, description="The longest life of a token, in days; longer ones are refused.")

    # How much
    rate_organization: int = Field(
        1200, ge=0, description="Requests that an organization may make in a minute; 0: any number."
    )
    rate_address: int = Field(
        1200,
        ge=0,
        description="Requests that may come from one address (of IPv6: one /64) in a minute; 0: any number.",
    )
    rate_failures: int = Field(
        30, ge=0, description="Requests without a valid token that are told so, from one address in a minute; 0: any."
    )
    streams_organization: int = Field(
        20, ge=0, description="Streams of events that an organization may have open in one process; 0: any number."
    )
    rate_url: str = Field(
        "",
        description="Where requests are counted for all processes together, as `redis://HOST:PORT/N`; empty: in the "
        "queue's Redis, or in each process by itself where the queue is no Redis.",
        repr=False,
    )
    trusted_proxies: str = Field(
        "127.0.0.1,::1",
        description="Addresses and networks of proxies whose X-Forwarded-For is believed, with commas; `none`: none.",
    )
    quota_servers: int = Field(
        1000,
        ge=0,
        description="Servers that an organization may have, unless it has a quota of its own; 0: any number.",
    )
    quota_runs: int = Field(
        500, ge=0, description="Runs of an organization that may wait, unless it has a quota of its own; 0: any number."
    )

    # Other issuers
    issuers: tuple[Issuer, ...] = Field(
        (), description="Issuers whose tokens are taken beside ours, as a JSON list; see docs/service.md."
    )
    issuers_ca_file: Path | None = Field(
        None, description="File of the authorities by which issuers' certificates are checked, instead of the system's."
    )
    issuers_timeout: Seconds = Field(5, description="Seconds that fetching an issuer's keys may take.")
    issuers_lifetime: Seconds = Field(300, description="Seconds after which an issuer's keys are fetched anew.")
    issuers_pause: Seconds = Field(10, description="The least seconds between two fetches of an issuer's keys.")
    issuers_keep_hours: float = Field(
        24, gt=0, description="Hours that the last good keys of an issuer are used while it does not answer."
    )

    # Runs
    workers: int = Field(4, ge=1, le=256, description="How many runs one worker process makes at one time.")
    hold_after_validation: bool = Field(
        False,
        description="Whether a validated server waits for a run that is asked for, instead of being provisioned.",
    )
    run_timeout: Seconds = Field(3600, description="Seconds that an attempt at a provisioning may take.")
    cleanup_timeout: Seconds = Field(600, description="Seconds after which a removed server is let go uncleaned.")
    max_attempts: int = Field(3, ge=1, description="How often a run is begun in all, if its worker is lost each time.")
    lease_seconds: Seconds = Field(30, description="How long a worker may be silent before its run goes to another.")
    heartbeat_seconds: Seconds = Field(5, description="How often a worker extends its leases.")
    sweep_seconds: Seconds = Field(2, description="How often lost rings and lost workers are looked for.")
    grace_seconds: float = Field(
        20, ge=0, description="Seconds that runs may go on after SIGTERM; what is left then is handed over."
    )

    # Watching
    monitor: bool = Field(True, description="Whether servers are watched.")
    monitor_interval: Seconds = Field(60, description="Seconds between two probes of a server.")
    monitor_rate: float = Field(3, gt=0, le=20, description="The most probes that begin in a second.")
    monitor_misses: int = Field(2, ge=1, description="Misses in a row that make a server `unreachable`.")

    drift_interval_hours: float = Field(
        0, ge=0, le=8784, description="Hours between two looks at an active server's drift; 0: only where asked for."
    )
    drift_at_once: int = Field(2, ge=1, le=256, description="The most of these looks that wait or go on at one time.")

    # Keeping
    events_days: float = Field(30, gt=0, description="Days that the events of runs are kept.")
    logs_days: float = Field(365, gt=0, description="Days that runs and their provisioning logs are kept.")
    deliveries_days: float = Field(30, gt=0, description="Days that deliveries to webhooks are kept.")
    audit_days: float = Field(365, gt=0, description="Days that the audit log is kept.")
    metrics_days: float = Field(7, gt=0, description="Days that what agents tell is kept.")
    idempotency_hours: float = Field(24, gt=0, description="Hours that an Idempotency-Key is remembered.")

    # Webhooks
    webhook_timeout: Seconds = Field(15, description="Seconds that one attempt to deliver to a webhook may take.")
    webhook_schedule: list[Annotated[float, Field(gt=0)]] = Field(
        [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400],
        max_length=50,
        description="Seconds from a failed delivery to the next attempt, one after the other.",
    )
    webhook_waiting: int = Field(
        1000, ge=1, description="Messages that may wait for one webhook; where there are more, the oldest fail."
    )
    webhook_disable_days: float = Field(
        5, gt=0, description="Days without a single successful delivery after which a webhook is disabled."
    )
    webhook_allow_private: bool = Field(False, description="Whether webhooks may lead into private networks.")
    webhook_allow_loopback: bool = Field(
        False, description="Whether webhooks may lead to this machine itself; by its loopback then also without TLS."
    )
    webhook_ca_file: str = Field(
        "", description="File of the certificate authorities for webhooks, in PEM; empty: the system's."
    )

    # What is said
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least level that is logged."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="How it is logged; auto: for people at a terminal, as JSON elsewhere."
    )

    # Capacity
    capacity_profile: str = Field("standard", description="The size of an instance that estimates are for.")
    capacity: ocore.CapacitySettings = Field(
        default_factory=ocore.CapacitySettings,
        description="The constants of the estimate, each as OCORE_CAPACITY__NAME; see docs/capacity.md.",
    )

    # What a server is to become: the fields of `ocore.ProvisionOptions`, by the same names
    proxy: Literal["caddy", "nginx", "traefik", "none"] = Field(
        "caddy", description="The proxy of servers that name none."
    )
    caddy_image: str = Field("", description="Caddy's image; empty: the library's default.")
    nginx_image: str = Field("", description="nginx's image; empty: the library's default.")
    traefik_image: str = Field("", description="Traefik's image; empty: the library's default.")
    docker_source: Literal["auto", "official", "distribution"] = Field("auto", description="Where Docker comes from.")
    minimum_memory_mb: int = Field(900, ge=0, description="Validation refuses less memory (MiB).")
    minimum_disk_gb: int = Field(10, ge=0, description="Validation refuses less free disk (GiB).")
    lock_timeout: int = Field(300, ge=0, le=1200, description="Seconds to wait for a server's package manager.")
    agent_url: str = Field(
        "", description="Address of this service as servers reach it, for their agents to post to; empty: no agents."
    )
    agent_interval: int = Field(30, ge=10, le=3600, description="Seconds between two heartbeats of an agent.")
    apt_proxy: str = Field("", description="HTTP proxy for the servers' package sources.")
    swap_mb: int = Field(
        0, ge=0, le=2**16, description="Size of a swap file on each server (MiB), at most 65536; 0: none."
    )
    security: bool = Field(False, description="Firewall, fail2ban and unattended upgrades on each server.")
    security_ports: str = Field("", description="More TCP ports that the firewall leaves open, separated by commas.")
    allow_loopback: bool = Field(False, description="Whether a server may be this machine itself.")
    deny_private: bool = Field(False, description="Whether private networks' addresses are refused.")
    site: Annotated[Path, AfterValidator(_absolute)] | None = Field(
        None, description="A folder with steps of one's own; see docs/site-steps.md."
    )
    # Read once: what runs does not change under a service that runs.
    _site: ocore.Site | None = PrivateAttr(None)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read what is passed, then the environment, then the file OCORE_CONFIG or ocore.toml in home."""
        home = init_settings().get("home") or env_settings().get("home") or default_home()
        file = os.environ.get("OCORE_CONFIG") or Path(home) / FILE
        return init_settings, _OwnEnvironment(env_settings), TomlConfigSettingsSource(settings_cls, Path(file))

    def model_post_init(self, _context: object, /) -> None:
        """Check what the library checks, so that a wrong setting is told at start."""
        if self.heartbeat_seconds > self.lease_seconds / 3:
            raise ValueError("heartbeat_seconds must be at most a third of lease_seconds")
        names = [self.token_issuer, *(one.issuer for one in self.issuers)]
        if len(set(names)) != len(names):
            raise ValueError("issuers must differ from each other, and from token_issuer")
        self._site = ocore.Site.load(self.site) if self.site else None
        self.options("")
        ocore.estimate(None, self.capacity_profile, self.capacity)

    @property
    def embedded(self) -> bool:
        """Whether the data is in the SQLite file in home."""
        return not self.database_url

    def options(self, proxy: str) -> ocore.ProvisionOptions:
        """Return the options for a server with this proxy; the default proxy where it is empty."""
        given = {name: getattr(self, name) for name in _OPTIONS if getattr(self, name) != ""} | {"site": self._site}
        return ocore.ProvisionOptions(**given | ({"proxy": proxy} if proxy else {}))


class _OwnEnvironment(PydanticBaseSettingsSource):
    """The environment's settings; one that names no setting is left alone, for others use the prefix, too."""

    def __init__(self, inner: PydanticBaseSettingsSource) -> None:
        super().__init__(inner.settings_cls)
        self._inner = inner

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        """Return one field's value."""
        return self._inner.get_field_value(field, field_name)

    def __call__(self) -> dict[str, Any]:
        """Return what the environment says of our settings."""
        return {name: value for name, value in self._inner().items() if name in self.settings_cls.model_fields}


_OPTIONS = tuple(one.name for one in fields(ocore.ProvisionOptions))


def described() -> Iterator[tuple[str, str, str, str]]:
    """Yield for each setting: its name in the environment, its name in the file, its default, and what it means."""
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, ()) else field.get_default(call_default_factory=False)
        shown = {"home": "~/.local/state/ocore", "capacity": "see docs/capacity.md"}.get(name, str(default).lower())
        yield PREFIX + name.upper(), name, shown, field.description or ""
