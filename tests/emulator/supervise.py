"""Keeps one emulator for a whole run of `cargo test`, and ends it when nobody uses it any more.

    supervise.py STATE PORT GRACE

Every test process holds a shared lock on STATE/users for as long as it lives; the kernel takes it away however the process ends. This process starts
`start.sh`, writes STATE/running.json and waits until STATE/users can be locked exclusively for GRACE seconds on end: nobody was there. Then it ends what it
started, by its id, with all that came from it (Lambda bootstraps are sessions of their own). It holds STATE/supervisor, so that who finds that lock free
knows that running.json is stale.

It may end processes only which it, or a supervisor that was killed, started: a process is known by its id and the moment at which it was made.
"""

import ctypes, fcntl, json, os, shutil, signal, subprocess, sys, time
from pathlib import Path

import psutil

HERE = Path(__file__).resolve().parent
TERM_WAIT = 5  # seconds that the emulator has for its own tidying up
PR_SET_PDEATHSIG = 1  # Source: linux/prctl.h


def lock(path, how):
    file = open(path, "a+")
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        file.close()
        return None
    return file


def end(pid, made):
    """TERM, 5 seconds, KILL; then the same for whatever it had started."""
    try:
        process = psutil.Process(pid)
        if abs(process.create_time() - made) > 1:
            return  # the id belongs to somebody else by now
        family = process.children(recursive=True)
    except psutil.NoSuchProcess:
        return
    process.terminate()
    psutil.wait_procs([process], timeout=TERM_WAIT)
    for left in [process, *family]:
        try:
            left.kill()  # psutil looks at the moment of making, too
        except psutil.NoSuchProcess:
            pass
    psutil.wait_procs([process, *family], timeout=TERM_WAIT)


def with_parent():
    """The emulator gets TERM if this supervisor is killed."""
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def unused(state, grace):
    """True when nobody held STATE/users for `grace` seconds. Nobody can come in while this returns: the caller holds STATE/start."""
    since = time.monotonic()
    while True:
        users = lock(state / "users", fcntl.LOCK_EX | fcntl.LOCK_NB)
        if users is None:
            return False
        users.close()
        if time.monotonic() - since >= grace:
            return True
        time.sleep(0.25)


def main():
    state, port, grace = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    supervisor = lock(state / "supervisor", fcntl.LOCK_EX | fcntl.LOCK_NB)
    if supervisor is None:
        return  # there is one
    running = state / "running.json"
    if running.exists():
        try:
            stale = json.loads(running.read_text())
            end(stale["pid"], stale["made"])
            shutil.rmtree(state / f"run-{stale['port']}", ignore_errors=True)
        except (ValueError, KeyError):
            pass
        running.unlink()

    log = open(state / "shared.log", "w")
    # SIGTERM's default would leave the emulator to prctl alone
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    emulator = subprocess.Popen(
        ["bash", str(HERE / "start.sh"), str(port), str(state)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=with_parent
    )
    made = psutil.Process(emulator.pid).create_time()
    part = state / "running.json.part"
    part.write_text(json.dumps({"pid": emulator.pid, "made": made, "port": port}))
    part.rename(running)
    try:
        while emulator.poll() is None:
            time.sleep(0.25)
            if not unused(state, grace):
                continue
            start = lock(state / "start", fcntl.LOCK_EX | fcntl.LOCK_NB)
            if start is None:
                continue  # somebody is just coming in
            if unused(state, 0):
                running.unlink(missing_ok=True)  # first, so that who comes in now starts a new one
                start.close()
                break
            start.close()
    finally:
        running.unlink(missing_ok=True)
        end(emulator.pid, made)
        emulator.wait()
        shutil.rmtree(state / f"run-{port}", ignore_errors=True)


if __name__ == "__main__":
    main()
