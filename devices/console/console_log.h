// The console's log file: every byte the guest wrote, whatever the back end did with it, and the
// last ones of it if a guest does not stop (base/log_rotation.h). On the loop's thread. A regular
// file's writes count as not blocking, as everywhere in hull but on the data path.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/unique_fd.h"

namespace hull::devices {

class ConsoleLog {
 public:
  // A symbolic link as last component is refused; a new file has mode 0600.
  static Result<std::unique_ptr<ConsoleLog>> open(const std::string& path, bool append);
  ~ConsoleLog();  // reports how much was lost
  ConsoleLog(const ConsoleLog&) = delete;
  ConsoleLog& operator=(const ConsoleLog&) = delete;

  // What cannot be written is counted; the first failure is reported, later writes try again.
  void write(std::span<const uint8_t> data);

 private:
  ConsoleLog(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  Result<void> learn_size();
  void begin_anew();

  const std::string path_;
  UniqueFd fd_;
  bool is_file_ = false;
  uint64_t size_bytes_ = 0;  // of a file
  uint64_t lost_bytes_ = 0;
};

// open(2) for console output: created with mode 0600, not through a symbolic link, not waiting for
// a FIFO's reader.
Result<UniqueFd> open_output_file(const std::string& path, bool append);

}  // namespace hull::devices
