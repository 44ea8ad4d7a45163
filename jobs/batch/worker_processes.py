"""Beam's runner that works in processes of this machine; one that dies fails the run, for which Beam would wait for ever.

Beam sees that a worker is gone by its connections, so not one that dies before it has opened them, or between two bundles.
"""

import os
import sys
import threading
from typing import Any, Final

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.portability import python_urns
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.portability.fn_api_runner.worker_handlers import SubprocessSdkWorkerHandler, WorkerHandler
from apache_beam.runners.portability.local_job_service import SubprocessSdkWorker
from apache_beam.transforms.environments import SubprocessSDKEnvironment

_WORKER: Final = "headrace.jobs.batch.worker"


def runner_in_processes(options: PipelineOptions) -> FnApiRunner:
    """One that works in `direct_num_workers` processes; in as many as there are cores, unless the options say more than one."""
    direct = options.view_as(DirectOptions)
    if direct.direct_num_workers == 1:
        direct.direct_num_workers = os.cpu_count()
    return FnApiRunner(SubprocessSDKEnvironment.from_command_string(f"exec {sys.executable} -m {_WORKER}"))


@WorkerHandler.register_environment(python_urns.SUBPROCESS_SDK, bytes)
class _WorkerProcess(SubprocessSdkWorkerHandler):
    """A worker whose death ends whatever waits for it, or will."""

    def start_worker(self) -> None:
        self._death: RuntimeError | None = None
        self._push = self.control_conn.push
        vars(self.control_conn)["push"] = self._asked
        self.worker = SubprocessSdkWorker(self._worker_command_line, self.control_address, self.provision_info, self.worker_id)
        self.worker_thread = threading.Thread(name="run_worker", target=self._run)
        self.worker_thread.start()

    def _run(self) -> None:
        try:
            self.worker.run()
        except RuntimeError as death:  # it has ended with another code than 0
            self._death = death
            for future in list(self.control_conn._futures_by_id.values()):
                future.abort(death)
            self.data_conn.close()

    def _asked(self, request: Any) -> Any:
        future = self._push(request)
        if future is not None and self._death is not None:
            future.abort(self._death)
        return future
