"""The cloud of a fleet of real processes, as a test sees it."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.conditions import is_true
from skerry.objects.meta import name_of
from skerry.testkit.api import Api
from skerry.testkit.face import Backup
from skerry.testkit.fleet import AskedCloud
from skerry.testkit.real.programs import CloudProgram
from skerry.testkit.real.transcript import Transcript


class RealCloud(AskedCloud):
    """Implements `skerry.testkit.Cloud`."""

    def __init__(self, program: CloudProgram, transcript: Transcript) -> None:
        self._program, self._transcript = program, transcript
        self.api = Api(program.api)
        self._backups = 0

    @property
    def running(self) -> bool:
        return self._program.running

    @property
    def connected(self) -> Sequence[str]:
        if not self.running:
            return ()
        return [name_of(node) for node in self.api.list("node") if is_true(node, "Ready")]

    def kill(self) -> None:
        if self.running:
            self._program.stop(signal.SIGKILL)
            self._transcript.fault("cloud", "is killed")

    def start(self) -> None:
        if not self.running:
            self._program.start()
            self._transcript.fault("cloud", "starts")

    def backup(self) -> RealBackup:
        """As the manual says: stop, copy, start."""
        self._backups += 1
        file = self._program.data.with_name(f"backup-{self._backups}.db")
        runs = self.running
        if runs:
            self._program.stop()
        shutil.copy(self._program.data / "cloud.db", file)
        if runs:
            self._program.start()
        self._transcript.fault("cloud", "is backed up")
        return RealBackup(self._transcript.now_s, file)

    def restore_backup(self, backup: Backup) -> None:
        if not isinstance(backup, RealBackup) or backup.file.parent != self._program.data.parent:
            raise InvalidError("this backup is not one that this fleet's cloud.backup() made")
        if self.running:
            self._program.stop()
        for name in ("cloud.db-wal", "cloud.db-shm"):
            (self._program.data / name).unlink(missing_ok=True)
        beside = self._program.data / "restored.db"
        shutil.copy(backup.file, beside)
        beside.replace(self._program.data / "cloud.db")
        self._program.start()
        self._transcript.fault("cloud", f"is restored to the backup of {backup.taken_s:.3f} s")


class RealBackup(Frozen, kw_only=False):
    """Implements `skerry.testkit.Backup`."""

    taken_s: float
    file: Path
