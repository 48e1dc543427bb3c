"""Connection to the cluster: one HTTP client for all Kubernetes jobs of a process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spincycle.kubernetes_jobs.errors import ExtraNotInstalled, NoCluster

if TYPE_CHECKING:
    from kubernetes_asyncio.client import ApiClient, Configuration

    from spincycle.kubernetes_jobs.api import Api

NAMESPACE_VARIABLE = "SPINCYCLE_KUBERNETES_NAMESPACE"
CONTEXT_VARIABLE = "SPINCYCLE_KUBERNETES_CONTEXT"

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A configured cluster.

    Attributes:
        namespace: default namespace of Kubernetes Jobs.
    """

    api: Api
    namespace: str


class Connection:
    """Shared client: opened by the first job that uses it, closed by the last.

    In a cluster it uses the runner's service account, elsewhere a kubeconfig file.
    """

    def __init__(self) -> None:
        self._users = 0
        self._opening: asyncio.Task[tuple[ApiClient, Cluster]] | None = None

    @asynccontextmanager
    async def use(self) -> AsyncIterator[Cluster]:
        """Provide the cluster for the duration of the context.

        Raises:
            ExtraNotInstalled: the extra `kubernetes` is not installed.
            NoCluster: no cluster is configured.
        """
        self._users += 1
        try:
            if self._opening is None or _failed(self._opening):
                self._opening = asyncio.create_task(_open())
            _, cluster = await asyncio.shield(self._opening)
            yield cluster
        finally:
            self._users -= 1
            if not self._users:
                await self._close()

    async def _close(self) -> None:
        opening, self._opening = self._opening, None
        if opening is None:
            return
        if not opening.done():
            opening.cancel()
        elif not _failed(opening):
            client, _ = opening.result()
            await client.close()


def _failed(opening: asyncio.Task[tuple[ApiClient, Cluster]]) -> bool:
    return opening.done() and (opening.cancelled() or opening.exception() is not None)


async def _open() -> tuple[ApiClient, Cluster]:
    try:
        # Importing takes half a second and would block the event loop.
        client_module = await asyncio.to_thread(import_module, "kubernetes_asyncio.client")
        config_module = await asyncio.to_thread(import_module, "kubernetes_asyncio.config")
        api_module = await asyncio.to_thread(import_module, "spincycle.kubernetes_jobs.api")
    except ModuleNotFoundError as error:
        raise ExtraNotInstalled(error.name or "kubernetes_asyncio") from error
    load = partial(_load_configuration, client_module, config_module)
    configuration, namespace = await load()

    async def reload() -> Configuration:
        return (await load())[0]

    client: ApiClient = client_module.ApiClient(configuration)
    return client, Cluster(api_module.Api(client, reload), namespace)


async def _load_configuration(client: Any, config: Any) -> tuple[Configuration, str]:
    configuration = client.Configuration()
    # Every running job holds three connections; a limited pool would deadlock.
    configuration.connection_pool_maxsize = 0
    namespace = os.environ.get(NAMESPACE_VARIABLE, "")
    try:
        if "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ:
            config.load_incluster_config(configuration)
            return configuration, namespace or await asyncio.to_thread(_own_namespace)
        loader = await config.load_kube_config(
            context=os.environ.get(CONTEXT_VARIABLE) or None,
            client_configuration=configuration,
            persist_config=False,
            config_file=os.environ.get("KUBECONFIG") or None,
        )
    except (config.ConfigException, OSError) as error:
        raise NoCluster(str(error)) from error
    context = (loader.current_context or {}).get("context") or {}
    return configuration, namespace or str(context.get("namespace") or "default")


def _own_namespace() -> str:
    try:
        return (_ACCOUNT / "namespace").read_text().strip() or "default"
    except OSError:
        return "default"
