// The PID file of a running domain, in libvirt's form: decimal, no newline, mode 0644. What tells
// that a domain is alive is the write lock on byte 0, held for the life of the process and dropped
// by the kernel however it ends, never the number in the file. Hence a file that SIGKILL left
// behind blocks nobody, and neither does a read lock, which every user can put on the file.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace hull::cli {

class PidFile {
 public:
  // Creates or takes over the file and locks it. It is empty until publish(). kBusy, naming the
  // holder, if another process has the lock. Links are not followed.
  static Result<PidFile> acquire(const std::string& path);

  // The process that holds the lock; none: nobody runs. 0: it has not published its PID yet.
  static Result<std::optional<pid_t>> holder(const std::string& path);

  PidFile(PidFile&&) = default;
  PidFile& operator=(PidFile&&) = delete;
  // remove(), then drops the lock.
  ~PidFile();

  // Removes the file, if it is still ours; the lock stays. Once more does nothing. Any thread.
  void remove();

  // Writes the number that readers see. The lock belongs to the open file and survives fork().
  Result<void> publish(pid_t pid);

 private:
  PidFile(std::string path, UniqueFd file) : path_(std::move(path)), file_(std::move(file)) {}

  std::string path_;
  UniqueFd file_;
};

}  // namespace hull::cli
