"""oCore turns a bare Linux server into a ready, measured and watched member of a hosting platform, over SSH.

Everything that programs need is here; what is not exported may change.
"""

from ocore.bundle import DebugRun, basis, debug_bundle
from ocore.capacity import PROFILES, CapacityEstimate, CapacitySettings, Profile, estimate
from ocore.engine import cleanup, drift, gather, plan, probe, provision, validate
from ocore.errors import ERRORS, ConfigError, ErrorCode, ErrorInfo, Failure, OcoreError, RecorderError, RunFailed
from ocore.evidence import evidence, tools
from ocore.intake.address import Reach, check_host, check_user, resolve
from ocore.intake.hostkeys import HostKey, check_fingerprint
from ocore.intake.keys import normalise as check_private_key
from ocore.models import (
    Credentials,
    Drift,
    Plan,
    PlannedStep,
    RunResult,
    RunStatus,
    Server,
    StepReading,
    StepResult,
    StepStatus,
    TaskEvent,
    check_password,
)
from ocore.options import ProvisionOptions
from ocore.receipts import Fault as ReceiptFault
from ocore.receipts import digest as receipt_digest
from ocore.receipts import public_key as receipt_public_key
from ocore.receipts import sign as sign_receipt
from ocore.receipts import verify as verify_receipts
from ocore.recorder import NullRecorder, Recorder
from ocore.replay import Replay
from ocore.sandbox import isolation
from ocore.site import Site, changing_steps, registry
from ocore.sizing import Gain, MachineSize, gains, smallest, with_more
from ocore.specs import HardwareSpecs
from ocore.steps import STEPS, Step
from ocore.transport import SshTransport

__all__ = [
    "ERRORS",
    "PROFILES",
    "STEPS",
    "CapacityEstimate",
    "CapacitySettings",
    "ConfigError",
    "Credentials",
    "DebugRun",
    "Drift",
    "ErrorCode",
    "ErrorInfo",
    "Failure",
    "Gain",
    "HardwareSpecs",
    "HostKey",
    "MachineSize",
    "NullRecorder",
    "OcoreError",
    "Plan",
    "PlannedStep",
    "Profile",
    "ProvisionOptions",
    "Reach",
    "ReceiptFault",
    "Recorder",
    "RecorderError",
    "Replay",
    "RunFailed",
    "RunResult",
    "RunStatus",
    "Server",
    "Site",
    "SshTransport",
    "Step",
    "StepReading",
    "StepResult",
    "StepStatus",
    "TaskEvent",
    "basis",
    "changing_steps",
    "check_fingerprint",
    "check_host",
    "check_password",
    "check_private_key",
    "check_user",
    "cleanup",
    "debug_bundle",
    "drift",
    "estimate",
    "evidence",
    "gains",
    "gather",
    "isolation",
    "plan",
    "probe",
    "provision",
    "receipt_digest",
    "receipt_public_key",
    "registry",
    "resolve",
    "sign_receipt",
    "smallest",
    "tools",
    "validate",
    "verify_receipts",
    "with_more",
]
