#include "config/paths.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "base/unique_fd.h"
#include "config/validate.h"

namespace hull::config {

namespace {

constexpr size_t kShortNameBytes = 20;  // socket paths are limited to 108 bytes
constexpr mode_t kOwnerOnly = 0700;

std::string from_environment(const char* variable) {
  const char* value = ::getenv(variable);  // NOLINT(concurrency-mt-unsafe): before threads start
  return value == nullptr ? "" : value;
}

std::string_view product_name(Product product) {
  return product == Product::kHull ? "hull" : "libvirt";
}

// XDG base directory specification: a relative path is invalid and ignored.
std::string base_directory(const std::string& variable, const std::string& home,
                           std::string_view fallback) {
  if (variable.starts_with('/')) return variable;
  return fmt::format("{}/{}", home, fallback);
}

Paths system_paths(Product product) {
  const std::string_view name = product_name(product);
  Paths paths;
  paths.layout = Layout::kSystem;
  paths.definition_dir = fmt::format("/etc/{}/qemu", name);
  paths.daemon_run_dir = fmt::format("/run/{}", name);
  paths.run_dir = fmt::format("/run/{}/qemu", name);
  paths.lib_dir = fmt::format("/var/lib/{}/qemu", name);
  paths.log_dir = fmt::format("/var/log/{}/qemu", name);
  paths.images_dir = fmt::format("/var/lib/{}/images", name);
  return paths;
}

Result<Paths> session_paths(const PathEnvironment& environment, Product product) {
  if (!environment.home.starts_with('/'))
    return fail(ErrorKind::kHost, "HOME is not set: use --root DIR to say where files go");
  const std::string_view name = product_name(product);
  const auto base = [&](const std::string& variable, std::string_view fallback) {
    return fmt::format("{}/{}", base_directory(variable, environment.home, fallback), name);
  };
  const std::string configuration = base(environment.xdg_config_home, ".config");
  const std::string cache = base(environment.xdg_cache_home, ".cache");
  Paths paths;
  paths.layout = Layout::kSession;
  paths.definition_dir = configuration + "/qemu";
  paths.daemon_run_dir = environment.xdg_runtime_dir.starts_with('/')
                             ? fmt::format("{}/{}", environment.xdg_runtime_dir, name)
                             : cache;
  paths.run_dir = paths.daemon_run_dir + "/qemu/run";
  paths.lib_dir = configuration + "/qemu/lib";
  paths.log_dir = cache + "/qemu/log";
  paths.images_dir = base(environment.xdg_data_home, ".local/share") + "/images";
  return paths;
}

void derive_subdirectories(Paths& paths) {
  // In a session libvirt keeps state beside the definitions instead of below lib.
  const std::string& state =
      paths.layout == Layout::kSession ? paths.definition_dir : paths.lib_dir;
  paths.autostart_dir = paths.definition_dir + "/autostart";
  paths.channel_dir = state + "/channel/target";
  paths.snapshot_dir = state + "/snapshot";
}

// The first kShortNameBytes bytes, not cutting a UTF-8 sequence.
std::string_view short_name(std::string_view name) {
  size_t length = std::min(name.size(), kShortNameBytes);
  while (length < name.size() && (static_cast<unsigned char>(name[length]) & 0xc0) == 0x80)
    --length;
  return name.substr(0, length);
}

Result<void> check_directory(const std::string& path) {
  const auto opened = open_file(path, O_PATH | O_DIRECTORY | O_NOFOLLOW);
  if (!opened) {
    if (opened.error().error_number() == ENOTDIR || opened.error().error_number() == ELOOP)
      return fail(ErrorKind::kInvalidConfig, "'{}' is not a directory (links are not followed)",
                  path);
    return std::unexpected(opened.error());
  }
  struct stat status{};
  if (::fstat(opened->get(), &status) != 0)
    return std::unexpected(Error::from_errno(fmt::format("stat '{}'", path)));
  if (status.st_uid != ::geteuid() && status.st_uid != 0)
    return fail(ErrorKind::kInvalidConfig, "directory '{}' belongs to another user", path);
  if ((status.st_mode & S_IWOTH) != 0)
    return fail(ErrorKind::kInvalidConfig, "directory '{}' can be written by everybody", path);
  return {};
}

Result<void> make_parents(const std::string& path, mode_t mode) {
  for (size_t slash = path.find('/', 1); slash != std::string::npos;
       slash = path.find('/', slash + 1)) {
    const std::string parent = path.substr(0, slash);
    if (::mkdir(parent.c_str(), mode) != 0 && errno != EEXIST && errno != EROFS)
      return std::unexpected(Error::from_errno(fmt::format("create directory '{}'", parent)));
  }
  return {};
}

}  // namespace

PathEnvironment PathEnvironment::of_process() {
  return {.privileged = ::geteuid() == 0,
          .home = from_environment("HOME"),
          .xdg_config_home = from_environment("XDG_CONFIG_HOME"),
          .xdg_cache_home = from_environment("XDG_CACHE_HOME"),
          .xdg_data_home = from_environment("XDG_DATA_HOME"),
          .xdg_runtime_dir = from_environment("XDG_RUNTIME_DIR")};
}

Result<Paths> Paths::standard(const PathEnvironment& environment, Product product) {
  Paths paths =
      environment.privileged ? system_paths(product) : TRY(session_paths(environment, product));
  paths.product = product;
  derive_subdirectories(paths);
  return paths;
}

Result<Paths> Paths::below(std::string_view root) {
  if (!root.starts_with('/'))
    return fail(ErrorKind::kUsage, "root directory '{}' is not an absolute path", root);
  while (root.ends_with('/')) root.remove_suffix(1);
  Paths paths;
  paths.layout = Layout::kRoot;
  paths.definition_dir = fmt::format("{}/etc/qemu", root);
  paths.daemon_run_dir = fmt::format("{}/run", root);
  paths.run_dir = fmt::format("{}/run/qemu", root);
  paths.lib_dir = fmt::format("{}/lib/qemu", root);
  paths.log_dir = fmt::format("{}/log/qemu", root);
  paths.images_dir = fmt::format("{}/lib/images", root);
  derive_subdirectories(paths);
  return paths;
}

Result<DomainPaths> Paths::of_domain(std::string_view name, unsigned id) const {
  TRY(check_domain_name(name));
  const std::string run_name = fmt::format("domain-{}-{}", id, short_name(name));
  return DomainPaths{.definition = fmt::format("{}/{}.xml", definition_dir, name),
                     .autostart_link = fmt::format("{}/{}.xml", autostart_dir, name),
                     .pid_file = fmt::format("{}/{}.pid", run_dir, name),
                     .status_file = fmt::format("{}/{}.xml", run_dir, name),
                     .log_file = fmt::format("{}/{}.log", log_dir, name),
                     .console_log = fmt::format("{}/{}-serial0.log", log_dir, name),
                     .lib_dir = fmt::format("{}/{}", lib_dir, run_name),
                     .channel_dir = fmt::format("{}/{}", channel_dir, run_name),
                     .snapshot_dir = fmt::format("{}/{}", snapshot_dir, name)};
}

Result<void> Paths::make(const std::string& path, mode_t mode) const {
  const bool session = layout == Layout::kSession;
  return make_directory(path, session ? kOwnerOnly : mode, session ? kOwnerOnly : 0755);
}

Result<void> Paths::create_run_directories() const {
  TRY(make(run_dir, 0755));  // PID files are for everybody
  return make(log_dir, 0700);
}

Result<void> Paths::create_directories() const {
  TRY(create_run_directories());
  TRY(make(definition_dir, 0700));  // documents may hold passwords
  TRY(make(autostart_dir, 0700));
  TRY(make(lib_dir, 0750));
  TRY(make(channel_dir, 0750));
  TRY(make(snapshot_dir, 0750));
  return make(images_dir, 0711);
}

Result<void> make_directory(const std::string& path, mode_t mode, mode_t parent_mode) {
  int made = ::mkdir(path.c_str(), kOwnerOnly);
  if (made != 0 && errno == ENOENT) {  // the first time only: this is on the start-up path
    TRY(make_parents(path, parent_mode));
    made = ::mkdir(path.c_str(), kOwnerOnly);
  }
  if (made != 0) {
    if (errno == EEXIST) return check_directory(path);
    return std::unexpected(Error::from_errno(fmt::format("create directory '{}'", path)));
  }
  // The mode asked for, whatever the umask.
  const UniqueFd created = TRY(open_file(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  if (::fchmod(created.get(), mode) != 0)
    return std::unexpected(Error::from_errno(fmt::format("chmod '{}'", path)));
  return {};
}

}  // namespace hull::config
