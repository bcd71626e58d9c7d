// Where hull keeps its files. The sub-layout is libvirt's, so that people and scripts find things
// where they expect them; the roots are hull's own unless --layout=libvirt asks otherwise, because
// a running libvirt daemon loads whatever lies in its directories.
//
//              system              session                          --root DIR
//   config     /etc/hull           $XDG_CONFIG_HOME/hull            DIR/etc
//   run        /run/hull           $XDG_RUNTIME_DIR/hull            DIR/run
//   lib        /var/lib/hull       $XDG_CONFIG_HOME/hull            DIR/lib
//   log        /var/log/hull       $XDG_CACHE_HOME/hull             DIR/log
//   images     /var/lib/hull/…     $XDG_DATA_HOME/hull/images       DIR/lib/images
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hull::config {

enum class Layout : unsigned char { kSystem, kSession, kRoot };
enum class Product : unsigned char { kHull, kLibvirt };

// The environment that decides, given explicitly so that tests need not change the process's own.
struct PathEnvironment {
  bool privileged = false;  // effective UID 0: system layout
  std::string home, xdg_config_home, xdg_cache_home, xdg_data_home, xdg_runtime_dir;

  static PathEnvironment of_process();
};

// All files of one domain; absolute.
struct DomainPaths {
  std::string definition;      // NAME.xml
  std::string autostart_link;  // link to the definition
  std::string pid_file;
  std::string status_file;
  std::string log_file;
  std::string console_log;  // NAME-serial0.log
  std::string lib_dir;      // sockets of this run: domain-ID-NAME (NAME cut to 20 bytes)
  std::string channel_dir;  // guest channel sockets of this run
  std::string snapshot_dir;
};

// Directories without a trailing slash; absolute.
struct Paths {
  Layout layout = Layout::kSystem;
  Product product = Product::kHull;
  std::string definition_dir;
  std::string autostart_dir;
  std::string run_dir;  // PID and status files
  std::string lib_dir;
  std::string channel_dir;
  std::string snapshot_dir;
  std::string log_dir;
  std::string images_dir;
  std::string daemon_run_dir;  // kLibvirt: where the daemons' sockets are

  // System or session as the environment says. kHost: the session has no home.
  static Result<Paths> standard(const PathEnvironment& environment, Product product);
  // Everything below `root`, which is made absolute by the caller. kUsage: it is relative.
  static Result<Paths> below(std::string_view root);

  // The name is checked (check_domain_name) before it becomes part of a path. `id` tells apart the
  // runs of one domain; hull uses its process ID.
  Result<DomainPaths> of_domain(std::string_view name, unsigned id) const;

  // The directories that a run or a definition needs, with the modes that libvirt gives them
  // (sessions: owner only). Existing ones keep their mode but must be safe: see make_directory().
  Result<void> create_directories() const;
  // Those of them that a transient run uses: PID file and log.
  Result<void> create_run_directories() const;

 private:
  Result<void> make(const std::string& path, mode_t mode) const;
};

// Creates a directory with exactly `mode`, and missing parents with `parent_mode`. An existing one
// is accepted if it is a directory (not a link to one), belongs to this user or root, and cannot be
// written by everybody: else kIo or kInvalidConfig.
Result<void> make_directory(const std::string& path, mode_t mode, mode_t parent_mode);

}  // namespace hull::config
