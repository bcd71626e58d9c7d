#include "tools/hull/runtime/libvirt_guard.h"

#include <sys/stat.h>

#include <cstring>
#include <string>
#include <string_view>

#include "base/unique_fd.h"

namespace hull::cli {

namespace {

constexpr size_t kMaxSocketTableBytes = 16 * 1024 * 1024;
constexpr unsigned kListening = 0x10000;  // __SO_ACCEPTCON in the flags of /proc/net/unix

// The driver holds a write lock on byte 0 for as long as it lives.
Result<bool> is_locked(const std::string& path) {
  const auto file = open_file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!file) {
    if (file.error().error_number() == ENOENT) return false;
    return std::unexpected(file.error());
  }
  struct flock lock{};
  lock.l_type = F_RDLCK;  // which a writer's conflicts with, and a reader's does not
  lock.l_whence = SEEK_SET;
  lock.l_len = 1;
  if (::fcntl(file->get(), F_OFD_GETLK, &lock) != 0)
    return std::unexpected(Error::from_errno(fmt::format("query the lock of '{}'", path)));
  return lock.l_type != F_UNLCK;
}

// One line: "Num: RefCount Protocol Flags Type St Inode Path".
bool is_listener(std::string_view line, std::string_view path) {
  if (!line.ends_with(path) || line.size() <= path.size() ||
      line[line.size() - path.size() - 1] != ' ')
    return false;
  size_t start = 0;
  for (int field = 0; field < 3; ++field) {
    start = line.find(' ', start);
    if (start == std::string_view::npos) return false;
    start = line.find_first_not_of(' ', start);
  }
  if (start == std::string_view::npos) return false;
  const std::string flags(line.substr(start, 8));
  return (std::strtoul(flags.c_str(), nullptr, 16) & kListening) != 0;
}

// Looked up instead of connected to: a connection would start a socket-activated daemon.
Result<bool> is_listened_on(std::string_view table, const std::string& path) {
  while (!table.empty()) {
    const size_t end = std::min(table.find('\n'), table.size());
    if (is_listener(table.substr(0, end), path)) return true;
    table.remove_prefix(std::min(end + 1, table.size()));
  }
  return false;
}

}  // namespace

Result<void> check_libvirt_idle(const config::Paths& paths) {
  if (paths.product != config::Product::kLibvirt) return {};
  const std::string driver_pid = paths.run_dir + "/driver.pid";
  if (TRY(is_locked(driver_pid)))
    return fail(ErrorKind::kBusy,
                "a libvirt QEMU driver is running ('{}' is locked): it would run the same domains; "
                "stop it or use hull's own layout",
                driver_pid);
  const UniqueFd sockets = TRY(open_file("/proc/net/unix", O_RDONLY));
  const std::string table =
      TRY(read_whole(sockets.get(), kMaxSocketTableBytes).with_context("/proc/net/unix"));
  for (const std::string_view name : {"libvirt-sock", "virtqemud-sock"}) {
    const std::string path = fmt::format("{}/{}", paths.daemon_run_dir, name);
    if (TRY(is_listened_on(table, path)))
      return fail(ErrorKind::kBusy,
                  "a libvirt daemon listens on '{}': it would run the same domains; stop it (and "
                  "its socket unit) or use hull's own layout",
                  path);
  }
  return {};
}

}  // namespace hull::cli
