"""Opens channels to the other services, with the identity of this process."""

from __future__ import annotations

import asyncio
from functools import partial
from weakref import WeakSet

import grpc
import structlog

from spincycle.identity.service_identity import server_name
from spincycle.rpc.address import is_unix
from spincycle.rpc.certificate_files import internal_files
from spincycle.rpc.channel import BlockingDial, Dial, open_blocking_channel, open_channel
from spincycle.rpc.identification import TOKEN
from spincycle.rpc.identified_channel import (
    BlockingChannel,
    IdentifiedBlockingChannel,
    IdentifiedChannel,
    Metadata,
)
from spincycle.runtime.config import ConfigError, IdentityConfig

CHECK_INTERVAL = 1.0
"""Seconds between two checks for renewed certificates."""


class Dialer:
    """Opens channels on which this process is identified, if it has an identity.

    Over TCP by its certificate: the other side must have a certificate for the DNS name of the
    service that is dialed. Over a Unix socket by its token, which is never shown over TCP.

    Args:
        service: service of this process, which its certificate must be for; empty for any.

    Raises:
        ConfigError: a certificate file is invalid, one of the three is missing, or the certificate
            is not one of the service.
    """

    def __init__(self, config: IdentityConfig, service: str = "") -> None:
        self._trust_domain = config.trust_domain
        token = config.token.reveal()
        self._token: Metadata = ((TOKEN, token),) if token else ()
        self._files = internal_files(config, service)
        self._channels: WeakSet[IdentifiedChannel | IdentifiedBlockingChannel] = WeakSet()

    def to(self, service: str) -> Dial:
        """Return the function that opens channels to a service, such as job-log."""
        return partial(self._dial, server_name(service, self._trust_domain))

    def blocking_to(self, service: str) -> BlockingDial:
        """Return the function that opens channels for blocking calls to a service."""
        return partial(self._dial_blocking, server_name(service, self._trust_domain))

    async def watch(self) -> None:
        """Renew all channels when the certificate files change, until cancelled."""
        if self._files is None:
            return
        problem = ""
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            try:
                is_new = await asyncio.to_thread(self._files.refresh)
            except ConfigError as error:
                # Perhaps only some of the files have been replaced yet.
                if str(error) != problem:
                    problem = str(error)
                    structlog.get_logger().warning("certificates not reloaded", problem=problem)
                continue
            if is_new:
                problem = ""
                for channel in list(self._channels):
                    channel.renew()
                structlog.get_logger().info("certificates reloaded", channels=len(self._channels))

    def _dial(self, name: str, address: str) -> grpc.aio.Channel:
        if is_unix(address):
            if not self._token:
                return open_channel(address)
            return IdentifiedChannel(lambda: open_channel(address), self._token)
        if self._files is None:
            return open_channel(address)

        def open_() -> grpc.aio.Channel:
            return open_channel(address, credentials=self._credentials(), server_name=name)

        channel = IdentifiedChannel(open_)
        self._channels.add(channel)
        return channel

    def _dial_blocking(self, name: str, address: str) -> BlockingChannel:
        if is_unix(address):
            return IdentifiedBlockingChannel(lambda: open_blocking_channel(address), self._token)
        if self._files is None:
            return open_blocking_channel(address)
        channel = IdentifiedBlockingChannel(
            lambda: open_blocking_channel(address, self._credentials(), name)
        )
        self._channels.add(channel)
        return channel

    def _credentials(self) -> grpc.ChannelCredentials:
        assert self._files is not None
        contents = self._files.contents
        return grpc.ssl_channel_credentials(contents.ca, contents.key, contents.certificate)


UNIDENTIFIED = Dialer(IdentityConfig())
"""Opens channels without an identity."""
