"""oCore turns a bare Linux server into a ready, measured and watched member of a hosting platform, over SSH.

Everything that programs need is here; what is not exported may change.
"""

from ocore.capacity import PROFILES, CapacityEstimate, CapacitySettings, Profile, estimate
from ocore.engine import cleanup, drift, gather, plan, provision, validate
from ocore.errors import ERRORS, ConfigError, ErrorCode, ErrorInfo, Failure, OcoreError, RecorderError, RunFailed
from ocore.intake.hostkeys import HostKey
from ocore.models import (
    Credentials,
    Drift,
    Plan,
    PlannedStep,
    ProvisionOptions,
    RunResult,
    RunStatus,
    Server,
    StepReading,
    StepResult,
    StepStatus,
    TaskEvent,
)
from ocore.recorder import NullRecorder, Recorder
from ocore.specs import HardwareSpecs
from ocore.steps import STEPS, Step

__all__ = [
    "ERRORS",
    "PROFILES",
    "STEPS",
    "CapacityEstimate",
    "CapacitySettings",
    "ConfigError",
    "Credentials",
    "Drift",
    "ErrorCode",
    "ErrorInfo",
    "Failure",
    "HardwareSpecs",
    "HostKey",
    "NullRecorder",
    "OcoreError",
    "Plan",
    "PlannedStep",
    "Profile",
    "ProvisionOptions",
    "Recorder",
    "RecorderError",
    "RunFailed",
    "RunResult",
    "RunStatus",
    "Server",
    "Step",
    "StepReading",
    "StepResult",
    "StepStatus",
    "TaskEvent",
    "cleanup",
    "drift",
    "estimate",
    "gather",
    "plan",
    "provision",
    "validate",
]
