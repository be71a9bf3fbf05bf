"""`edgeward doctor` with nothing: the running authority of `--data`, asked over its API, and the files of its data directory."""

from datetime import UTC, datetime

from edgeward.cli import doctor_files
from edgeward.cli.client import Client
from edgeward.cli.doctor import Asked
from edgeward.cli.options import counted
from edgeward.model.diagnosis import Diagnosis, Section
from edgeward.model.finding import Finding
from edgeward.services.doctor.on_disk import first


def examine(asked: Asked) -> Diagnosis:
    """The diagnosis of a running authority. Raises `NotRunning` when there is none."""
    said = Client(asked.data).call("GET", "/v1/doctor")
    findings = [Finding.from_json(one) for one in said["findings"]]
    findings += doctor_files.private(asked.data)
    facts = said["facts"]
    lines = (
        f"edgeward {facts['version']}, since {facts['since']} (process {facts['pid']})",
        f"{counted(facts['nodes'], 'node')}, {facts['online']} online; "
        f"{counted(facts['failures'], 'kind')} of failures in {facts['failure_days']} days",
        f"its server certificate is for {', '.join(facts['names'])}",
    )
    return Diagnosis(
        subject=str(asked.data),
        findings=tuple(first(findings)),
        sections=(Section(title=f"{asked.data} at {datetime.now(UTC).isoformat(timespec='seconds')}", lines=lines),),
        facts=facts,
    )
