"""The inside of a fence: builds the file system that a fenced process sees, and starts the process.

Run by `worker.machine.fence` as a script, alone: it imports the standard library and nothing of ours. The
first stage is root in new namespaces (user, mounts, processes, network); the second has given up every
capability, is process 1, and forwards the database's connections.
"""

import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

# From <sys/mount.h>, <linux/mount.h>, <linux/prctl.h> and <linux/sockios.h>.
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC = 1, 2, 4, 8, 4096, 16384
SYS_MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE = 442, -100, 0x8000
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV = 1, 2, 4
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
SIOCSIFFLAGS, IFF_UP = 0x8914, 1

DEVICES = ("null", "zero", "full", "random", "urandom")
USERS = "keypool:x:0:0::/:/bin/sh\n"
CHUNK = 65536

libc = ctypes.CDLL(None, use_errno=True)


def main(specification: str, *command: str) -> None:
    """Build the fence that a specification describes, and go on inside it."""
    described = json.loads(specification)
    if not described.get("inside"):
        _build(Path(described["root"]), described["readable"], described["writable"])
        _raise_loopback()
        _give_up_rights()
        inside = json.dumps(described | {"inside": True})
        stage = [sys.executable, "-I", __file__, inside, *command]
        os.execv(sys.executable, stage)  # noqa: S606  # no shell is wanted
    for address, port, path in described["forwards"]:
        _forward(address, port, path)
    os.chdir(described["folder"])
    signal.signal(signal.SIGINT, lambda *_: None)  # an interrupt is the command's own
    # Jupyter's kernels end when their parent is process 1, which here they always are.
    os.environ.pop("JPY_PARENT_PID", None)
    sys.exit(subprocess.run(command, check=False).returncode)


def _build(root: Path, readable: list[str], writable: list[str]) -> None:
    _mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    for folder in ("tmp", "dev", "etc", "proc"):
        (root / folder).mkdir()
    (root / "etc" / "passwd").write_text(USERS)
    _mount("proc", root / "proc", "proc", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
    for device in DEVICES:
        _bind(f"/dev/{device}", root, 0)
    (root / "dev" / "shm").mkdir()
    for path in readable:
        _bind(path, root, ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV)
    for path in writable:
        _bind(path, root, ATTR_NOSUID | ATTR_NODEV)
    os.chroot(root)
    os.chdir("/")


def _bind(path: str, root: Path, attributes: int) -> None:
    """Show a file or folder of the machine at the same place; a link as the same link."""
    source, target = Path(path), root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        target.symlink_to(source.readlink())
        return
    target.mkdir(exist_ok=True) if source.is_dir() else target.touch()
    _mount(path, target, None, MS_BIND | MS_REC)
    if attributes:
        given = struct.pack("QQQQ", attributes, 0, 0, 0)
        _require(
            libc.syscall(
                SYS_MOUNT_SETATTR, AT_FDCWD, bytes(target), AT_RECURSIVE, given, len(given)
            )
        )


def _mount(source: str, target: Path, kind: str | None, flags: int, data: str = "") -> None:
    type_ = kind and kind.encode()
    _require(libc.mount(source.encode(), bytes(target), type_, flags, data.encode()))


def _require(failed: int) -> None:
    if failed:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _raise_loopback() -> None:
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


def _give_up_rights() -> None:
    """Let no program from here on have a capability, whatever its user and its file say."""
    capability = 0
    while libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    _require(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def _forward(address: str, port: int, path: str) -> None:
    """Accept connections here, and hand them to a socket that leads out of the fence."""
    listener = socket.create_server((address, port))
    threading.Thread(target=_accept, args=(listener, path), daemon=True).start()


def _accept(listener: socket.socket, path: str) -> None:
    while True:
        inner, _ = listener.accept()
        outer = socket.socket(socket.AF_UNIX)
        try:
            outer.connect(path)
        except OSError:
            inner.close()
            continue
        join(inner, outer)


def join(one: socket.socket, other: socket.socket) -> None:
    """Copy between two sockets, both ways, in threads of their own."""
    for source, target in ((one, other), (other, one)):
        threading.Thread(target=pump, args=(source, target), daemon=True).start()


def pump(source: socket.socket, target: socket.socket) -> None:
    """Copy what one socket receives to another, until either ends."""
    with suppress(OSError):
        while chunk := source.recv(CHUNK):
            target.sendall(chunk)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    main(*sys.argv[1:])
