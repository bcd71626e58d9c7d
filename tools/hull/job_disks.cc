#include "tools/hull/job_disks.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "base/log.h"
#include "blockcore/file/ephemeral_file.h"
#include "config/values.h"
#include "tools/hull/archive/pack.h"
#include "tools/hull/archive/unpack.h"

namespace hull::cli {

namespace {

constexpr uint64_t kStatusDiskBytes = 4096;
constexpr size_t kStatusBytes = 64;  // of them may hold the number
constexpr unsigned kMaxStatus = 255;
constexpr std::string_view kBlanks(" \t\r\n\0", 5);

// In $TMPDIR, in the current directory or in /var/tmp.
Result<UniqueFd> nameless_file() { return blockcore::create_ephemeral_file_near(""); }

std::string free_target(const config::DomainConfig& domain) {
  std::string target = "vda";
  const auto taken = [&] {
    return std::any_of(domain.disks.begin(), domain.disks.end(),
                       [&](const config::DiskConfig& disk) { return disk.target == target; });
  };
  while (target.back() != 'z' && taken()) ++target.back();
  return target;
}

void add_disk(config::DomainConfig& domain, int fd, std::string_view serial, bool read_only) {
  config::DiskConfig disk;
  disk.target = free_target(domain);
  disk.file = fmt::format("/proc/self/fd/{}", fd);
  disk.cache = config::CacheMode::kUnsafe;  // nobody reads it after a crash of the host
  disk.read_only = read_only;
  disk.serial = serial;
  domain.disks.push_back(std::move(disk));
}

Result<UniqueFd> empty_disk(uint64_t bytes) {
  UniqueFd file = TRY(nameless_file());
  if (::ftruncate(file.get(), static_cast<off_t>(bytes)) != 0)
    return std::unexpected(Error::from_errno(fmt::format("a disk of {} bytes", bytes)));
  return file;
}

Result<uint64_t> bytes_of_out(const JobWords& words) {
  const auto size = config::parse_size(words.out_size, 1024 * 1024);
  if (!size) return fail(ErrorKind::kUsage, "--out-size: {}", size.error().message());
  const uint64_t bytes = *size / kStatusDiskBytes * kStatusDiskBytes;
  if (bytes == 0) return fail(ErrorKind::kUsage, "--out-size {}: is too small", words.out_size);
  return bytes;
}

Result<UniqueFd> packed_directory(const std::string& directory, std::stop_token stop) {
  UniqueFd file = TRY(nameless_file());
  const Packed archive = TRY(pack_directory(directory, file.get(), std::move(stop)));
  if (archive.left_out != 0)
    LOG_WARN("--in {}: {} sockets, pipes or devices were left out", directory, archive.left_out);
  return file;
}

}  // namespace

std::optional<unsigned> parse_status(std::string_view text) {
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == text.npos) return {};
  text.remove_prefix(begin);
  const std::string_view digits = text.substr(0, text.find_first_of(kBlanks));
  if (text.find_first_not_of(kBlanks, digits.size()) != text.npos) return {};
  unsigned status = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), status);
  if (parsed.ec != std::errc() || parsed.ptr != digits.data() + digits.size() ||
      status > kMaxStatus)
    return {};
  return status;
}

Result<JobDisks> JobDisks::add_to(config::DomainConfig& domain, const JobWords& words,
                                  std::stop_token stop) {
  JobDisks job(words);
  if (!words.status_from.empty() && words.status_from != kStatusDisk && words.out.empty())
    return fail(ErrorKind::kUsage,
                "--status-from {}: a file comes out with --out alone; '{}' needs none",
                words.status_from, kStatusDisk);
  if (!words.out.empty()) job.out_bytes_ = TRY(bytes_of_out(words));
  if (!words.in.empty()) {
    job.in_ = TRY(packed_directory(words.in, std::move(stop)).with_context("--in"));
    add_disk(domain, job.in_.get(), "hull-in", true);
  }
  if (!words.out.empty()) {
    // A directory that cannot be made is better known before the job than after it.
    if (::mkdir(words.out.c_str(), 0777) != 0 && errno != EEXIST)
      return std::unexpected(Error::from_errno(fmt::format("--out: make '{}'", words.out)));
    job.out_ = TRY(empty_disk(job.out_bytes_).with_context("--out"));
    add_disk(domain, job.out_.get(), "hull-out", false);
  }
  if (words.status_from == kStatusDisk) {
    job.status_disk_ = TRY(empty_disk(kStatusDiskBytes).with_context("--status-from"));
    add_disk(domain, job.status_disk_.get(), "hull-status", false);
  }
  return job;
}

Result<void> JobDisks::unpack(bool finished) {
  const std::string watched = status_disk_.valid() ? "" : words_.status_from;
  const Unpacked unpacked =
      TRY(unpack_directory(out_.get(), out_bytes_, words_.out, watched).with_context("--out"));
  if (unpacked.watched) status_ = parse_status(*unpacked.watched);
  for (const std::string& reason : unpacked.reasons) LOG_WARN("--out: {}: left out", reason);
  if (unpacked.left_out != 0)
    return fail(ErrorKind::kInvalidFormat, "--out {}: {} of the archive's {} entries were left out",
                words_.out, unpacked.left_out, unpacked.entries);
  if (unpacked.entries == 0 && finished)
    return fail(ErrorKind::kInvalidFormat,
                "--out {}: the guest has written no tar archive to its disk hull-out", words_.out);
  return {};
}

Result<void> JobDisks::collect(bool finished) {
  if (status_disk_.valid()) {
    std::array<char, kStatusBytes> text{};
    TRY(read_exact_at(status_disk_.get(), std::as_writable_bytes(std::span(text)), 0));
    status_ = parse_status(std::string_view(text.data(), text.size()));
  }
  if (!out_.valid()) return {};
  return unpack(finished);
}

}  // namespace hull::cli
