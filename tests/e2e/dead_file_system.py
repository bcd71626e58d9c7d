"""A file system with one file of zeros, by FUSE's wire (linux/fuse.h), that can stop answering for ever as a network
file system does whose server is gone. Needs what mount(2) needs.
"""

import ctypes
import errno
import os
import struct
import subprocess
import threading

LIBC = ctypes.CDLL(None, use_errno=True)
ROOT_NODE, FILE_NODE = 1, 2
LOOKUP, FORGET, GETATTR, OPEN, READ, WRITE, STATFS, RELEASE, FSYNC, INIT, INTERRUPT, BATCH_FORGET = 1, 2, 3, 14, 15, 16, 17, 18, 20, 26, 36, 42
WITHOUT_ANSWER = (FORGET, INTERRUPT, BATCH_FORGET)
EMPTY_ANSWER = (RELEASE, FSYNC)


class DeadFileSystem:
    """Mounted at `place`, with a file called disk; alive until die()."""

    def __init__(self, place, size):
        self.place, self.size = str(place), size
        self.device = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self.device},rootmode=40000,user_id=0,group_id=0,allow_other"
        if LIBC.mount(b"dead", self.place.encode(), b"fuse", 0, options.encode()) != 0:
            raise OSError(ctypes.get_errno(), "mount")
        self.dead = threading.Event()
        self.server = threading.Thread(target=self.serve, daemon=True)
        self.server.start()
        # The answer to its close tells the kernel that there is nothing to flush: it would wait for that with all signals
        # shut out, also those that kill, which network file systems do not.
        with open(f"{self.place}/disk", "rb"):
            pass

    def die(self):
        """Whatever is asked from now on waits in the kernel."""
        self.dead.set()

    def unmount(self):
        """Ends those who wait, too."""
        self.dead.set()
        subprocess.run(["umount", "--lazy", self.place], check=False)
        os.close(self.device)

    def attributes(self, node):
        mode = 0o40755 if node == ROOT_NODE else 0o100666
        size = 0 if node == ROOT_NODE else self.size
        return struct.pack("<QQQQQQIIIIIIIIII", node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def answer(self, opcode, node, body):
        """The answer's body, or an errno."""
        if opcode == INIT:
            return struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, 0, 64, 48, 1 << 17, 1, 0, 0, 0)
        if opcode == LOOKUP:
            if body.rstrip(b"\0") != b"disk":
                return errno.ENOENT
            return struct.pack("<QQQQII", FILE_NODE, 0, 600, 600, 0, 0) + self.attributes(FILE_NODE)
        if opcode == GETATTR:
            return struct.pack("<QII", 600, 0, 0) + self.attributes(node)
        if opcode == OPEN:
            return struct.pack("<QII", 1, 0, 0)
        if opcode == READ:
            offset, size = struct.unpack_from("<8xQI", body)
            return bytes(max(0, min(size, self.size - offset)))
        if opcode == WRITE:
            return struct.pack("<II", struct.unpack_from("<16xI", body)[0], 0)
        if opcode == STATFS:
            return struct.pack("<QQQQQIIII24x", 1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 4096, 255, 4096, 0)
        return b"" if opcode in EMPTY_ANSWER else errno.ENOSYS

    def serve(self):
        while not self.dead.is_set():
            try:
                request = os.read(self.device, 1 << 18)
            except OSError:
                return
            _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
            if opcode in WITHOUT_ANSWER:
                continue
            answer = self.answer(opcode, node, request[40:])
            error, data = (-answer, b"") if isinstance(answer, int) else (0, answer)
            try:
                os.write(self.device, struct.pack("<IiQ", 16 + len(data), error, unique) + data)
            except OSError:
                pass  # who asked has been interrupted
