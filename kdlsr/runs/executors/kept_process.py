"""A process that carries out one job after the other for the command that started it.

    python -m kdlsr.runs.executors.kept_process NUMBER

NUMBER is the file descriptor of its end of a pipe. torch is imported once, here; between two jobs
nothing is kept but that and the process's caches. It ends with its command: at its word, when
it has nothing to do; as an interruption ends it, when the command is gone.
"""

import faulthandler
import gc
import os
import pickle
import queue
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection

from kdlsr.config import RunFailed, UserError
from kdlsr.config.entry import EXIT_OK, EXIT_TERMINATED, run_entry_point
from kdlsr.config.errors import in_a_line
from kdlsr.machine.gpus import free_memory, give_back_memory, lacks_memory
from kdlsr.runs.executors.cards import Memory
from kdlsr.runs.executors.kept import END_S, GOODBYE, Report

Jobs = queue.SimpleQueue[bytes]


def _main() -> int:
    connection = Connection(int(sys.argv[1]))
    os.set_inheritable(connection.fileno(), False)
    jobs: Jobs = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, jobs), daemon=True).start()
    free = free_memory()
    while (content := jobs.get()) != GOODBYE:
        connection.send(_carry_out(content, free))
        if not gc.get_freeze_count():
            gc.freeze()  # what was imported stays: collecting, a job's length, need not look at it
    return EXIT_OK


def _listen(connection: Connection, jobs: Jobs) -> None:
    """Hands on what the command says; ends this process when it says nothing any more."""
    try:
        while True:
            jobs.put(content := connection.recv_bytes())
            if content == GOODBYE:
                return
    except (EOFError, OSError):
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGTERM)
        time.sleep(END_S)
        os._exit(EXIT_TERMINATED)


def _carry_out(content: bytes, free: int) -> Report:
    """Carries out a job, and leaves the process as it was before."""
    lacked = []

    def tell(error: Exception) -> None:
        lacked.append(lacks_memory(error))
        if not isinstance(error, UserError | RunFailed):
            traceback.print_exception(error)

    try:
        worker, job = pickle.loads(content)
    except Exception as error:  # what it is made of cannot be imported here
        tell(error)
        return Report(in_a_line(error))
    sys.stdout.write(f"--- {job}\n")
    reason = worker(job, tell)
    if reason is not None:
        sys.stdout.write(f"--- failed: {reason}\n")
    _forget()
    try:
        return Report(reason, Memory(free, give_back_memory(), any(lacked)))
    except RuntimeError as error:
        sys.stdout.write(f"--- memory cannot be given back, and this ends: {in_a_line(error)}\n")
        return Report(reason, Memory(free, was_short=any(lacked)), is_last=True)


def _forget() -> None:
    """Drops what a job has left: networks in cycles, compiled code that counts as tried before."""
    gc.collect()
    if "torch._dynamo" in sys.modules:
        import torch

        torch.compiler.reset()


if __name__ == "__main__":
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # its command tells it
    sys.exit(run_entry_point(_main))
