"""Every setting of a worker, read from `WHETSTONE_WORKER_…` variables when asked for."""

import socket
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from whetstone.contract.targets import HardwareClass
from workers.engine.toolkits.offered import TorchArchives


class WorkerSettings(BaseSettings):
    """A worker knows the control plane, the broker and a scratch folder; no database, no storage password."""

    model_config = SettingsConfigDict(env_prefix="WHETSTONE_WORKER_", frozen=True, extra="ignore")

    control_plane_url: str
    broker_url: str
    fleet_token: SecretStr
    scratch: Path = Path("var/scratch")
    name: str = Field(default_factory=socket.gethostname)
    hardware: HardwareClass = HardwareClass.CPU
    log_level: str = "INFO"
    torch_archives: TorchArchives = TorchArchives.CONFINED
