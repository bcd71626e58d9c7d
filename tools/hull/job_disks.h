// What a job takes in and gives out, without root rights and without a mount on the host: --in,
// --out and --status-from of `hull run`. Each is a raw disk of the guest with an archive or a
// number on it, in a file without a name, so that nothing is left whatever ends hull.
#pragma once

#include <optional>
#include <stop_token>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "config/domain.h"

namespace hull::cli {

struct JobWords {
  std::string in, out;  // directories; empty: none
  std::string out_size = "1G";
  std::string status_from;  // kStatusDisk, or a file in what comes out; empty: from nowhere

  bool wants_anything() const { return !in.empty() || !out.empty() || !status_from.empty(); }
};
inline constexpr std::string_view kStatusDisk = "disk";

// What a guest says of its own status, 0 to 255: digits, and space or zeros around them.
std::optional<unsigned> parse_status(std::string_view text);

class JobDisks {
 public:
  // Adds the disks behind those that `domain` has, each under the first vdX that is free, with the
  // serial numbers hull-in, hull-out and hull-status. kUsage, kIo, kTimeout (`stop`).
  static Result<JobDisks> add_to(config::DomainConfig& domain, const JobWords& words,
                                 std::stop_token stop);

  // When the machine is gone: unpacks what came out. A guest that has `finished` (it powered off)
  // has to have written something. Errors: not all that came out is in the directory.
  Result<void> collect(bool finished);
  // Then: what the guest said of itself. Absent: nothing, or nothing that is a status.
  std::optional<unsigned> status() const { return status_; }

 private:
  explicit JobDisks(JobWords words) : words_(std::move(words)) {}
  Result<void> unpack(bool finished);

  JobWords words_;
  UniqueFd in_, out_, status_disk_;
  uint64_t out_bytes_ = 0;
  std::optional<unsigned> status_;
};

}  // namespace hull::cli
