#include "tools/hull/trial_run.h"

#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "base/unique_fd.h"
#include "blockcore/engine/io_engine.h"
#include "blockcore/file/local_file.h"
#include "blockcore/qcow2/edit/create.h"
#include "config/generated.h"
#include "config/values.h"
#include "tools/hull/run_domain.h"

namespace hull::cli {

namespace {

constexpr uint64_t kDiskBytes = 16u << 20;
// Writes to some of the overlay, checks it, and that the rest still shows the base's zeros.
constexpr const char* kAgenda =
    "hull.do=facts;blk.fill,start=64,count=4096,seed=7;blk.flush;blk.verify,start=64,count=4096,"
    "seed=7;"
    "blk.verify,start=8192,count=1024,zero";

// A directory that is removed with everything in it.
class ScratchDirectory {
 public:
  static Result<ScratchDirectory> create() {
    std::string path = (std::filesystem::temp_directory_path() / "hull-doctor-XXXXXX").string();
    if (::mkdtemp(path.data()) == nullptr)
      return std::unexpected(Error::from_errno(fmt::format("make a directory like '{}'", path)));
    return ScratchDirectory(std::move(path));
  }
  ScratchDirectory(ScratchDirectory&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  ScratchDirectory& operator=(ScratchDirectory&&) = delete;
  ~ScratchDirectory() { remove(); }
  void remove() const {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  std::string file(const char* name) const { return path_ + "/" + name; }

 private:
  explicit ScratchDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// What asks for the end waits until the directory is gone.
class DeferredSignals {
 public:
  DeferredSignals() {
    sigset_t ends;
    sigemptyset(&ends);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&ends, signal);
    pthread_sigmask(SIG_BLOCK, &ends, &before_);
  }
  ~DeferredSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  DeferredSignals(const DeferredSignals&) = delete;
  DeferredSignals& operator=(const DeferredSignals&) = delete;

 private:
  sigset_t before_{};
};

Result<void> make_image(blockcore::IoEngine& engine, const std::string& path,
                        const std::string& base) {
  auto file = TRY(blockcore::LocalFile::open(engine, path, {.create = true}));
  blockcore::Qcow2CreateOptions options;
  options.size_bytes = kDiskBytes;
  options.backing_name = base;
  if (!base.empty()) options.backing_format = "qcow2";
  return engine.run_until_done(blockcore::create_qcow2(*file, options));
}

Result<std::string> read_file(const std::string& path) {
  const UniqueFd file = TRY(open_file(path, O_RDONLY));
  return read_whole(file.get(), 64u << 20).with_context(path);
}

config::DomainConfig trial_domain(const ScratchDirectory& directory) {
  config::DomainConfig domain;
  domain.name = "hull-doctor";
  domain.memory_bytes = 64u << 20;
  config::set_kernel(domain.boot, config::kBuiltinGuestKernel);
  domain.boot.cmdline = kAgenda;
  config::DiskConfig disk;
  disk.target = "vda";
  disk.file = directory.file("overlay.qcow2");
  disk.format = config::DiskFormat::kQcow2;
  domain.disks.push_back(disk);
  config::ConsoleConfig console;
  console.kind = config::ConsoleKind::kFile;
  console.path = directory.file("console.log");
  domain.console = console;
  return domain;
}

// The guest's lines that say how it went; its list of facts is for other readers.
void collect_facts(const std::string& console, TrialResult& result) {
  std::string_view rest = console;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.find(": ok ") != line.npos || line.find(": FAIL") != line.npos)
      result.facts.emplace_back(line);
  }
}

// A signal ends the trial at once, and what it has made is removed.
Result<vmm::EndReason> run_with_warden(const config::DomainConfig& domain,
                                       const RunOptions& options,
                                       const ScratchDirectory& directory) {
  const auto warden = TRY(Warden::start({.timeout = std::chrono::seconds(30),
                                         .grace = std::chrono::seconds(0),
                                         .process_goes_on = true}));
  // Also when the warden has to leave by force, which destroys nothing.
  warden->set_reporter(
      [&directory](const std::string&, const vmm::EndReason&) { directory.remove(); });
  RunObserver silent({.name = domain.name, .grace = {}}, nullptr);
  return run_domain(domain, options, {}, *warden, silent);
}

}  // namespace

Result<TrialResult> run_trial() {
  const DeferredSignals deferred;
  const ScratchDirectory directory = TRY(ScratchDirectory::create());
  const auto engine = TRY(blockcore::IoEngine::create());
  const std::string base = directory.file("base.qcow2");
  TRY(make_image(*engine, base, ""));
  TRY(make_image(*engine, directory.file("overlay.qcow2"), base));
  const std::string before = TRY(read_file(base));

  config::DomainConfig domain = trial_domain(directory);
  TRY(config::fill_generated(domain));
  RunOptions options;
  options.paths = TRY(config::Paths::below(directory.file("root")));
  options.version = HULL_VERSION;
  options.command_line = {"hull", "doctor"};
  const auto begin = std::chrono::steady_clock::now();
  const vmm::EndReason end = TRY(run_with_warden(domain, options, directory));

  TrialResult result;
  result.start_ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  const std::string console = TRY(read_file(directory.file("console.log")));
  collect_facts(console, result);
  if (!end.detail.empty()) result.facts.push_back(end.detail);
  result.base_unchanged = TRY(read_file(base)) == before;
  result.passed = end.kind == vmm::EndKind::kPowerOff && result.base_unchanged &&
                  console.find("failed=0") != std::string::npos;
  return result;
}

}  // namespace hull::cli
