// Locks that keep two programs from spoiling one image, understood by QEMU, qemu-img and
// qemu-storage-daemon (2.10 and later; behaviour of its file-posix driver with locking=on).
//
// They are shared (read) OFD locks on single bytes: byte 100 + p says "I use permission p", byte
// 200 + p "I do not let others use p", with p = 0 consistent read, 1 write, 2 write unchanged,
// 3 resize. Everybody first locks what he says, then looks whether somebody else has locked the
// opposite byte. They belong to the open file description: they end when it is closed, also by a
// crash. Readers get along with readers; a writer excludes everybody else.
#pragma once

#include <chrono>
#include <string>

#include "base/result.h"

namespace hull::blockcore {

struct LockRequest {
  bool write = false;
  bool resize = false;       // formats that grow the file
  bool share_write = false;  // others may write meanwhile
};

enum class LockOutcome : unsigned char {
  kLocked,
  kUnsupported,  // the file system has no such locks: the caller decides, and says so
};

// kBusy, naming the conflict, if somebody else is in the way; no lock is held then. `fd` is open
// for reading at least; `path` is for messages. Does not wait.
Result<LockOutcome> lock_image(int fd, const std::string& path, const LockRequest& request);

// A process that was killed keeps its locks until the kernel has ended its I/O, some time after it
// is gone: rightly so, for what is in flight still reaches the image. That is waited for, on the
// caller's thread.
inline constexpr std::chrono::milliseconds kLockPatience{1000};
// The same, after that long.
Result<LockOutcome> lock_image_patiently(int fd, const std::string& path,
                                         const LockRequest& request);

}  // namespace hull::blockcore
