#include "vmm/host_parts.h"

#include <semaphore>

#include "base/log.h"
#include "config/boot_order.h"
#include "firmware/guest/image.h"
#include "vmm/arch.h"
#include "vmm/host_facts.h"
#include "vmm/open_disk.h"

namespace hull::vmm {

namespace {

// What is in the page cache may be gigabytes on a slow disk.
constexpr std::chrono::minutes kFlushTime{5};

devices::ConsoleOptions to_console_options(const config::ConsoleConfig& config) {
  devices::ConsoleOptions options;
  options.kind = config.kind;
  options.path = config.path;
  options.append = config.append;
  options.log_file = config.log_file;
  options.log_append = config.log_append;
  return options;
}

Result<void> check_cancelled(const std::stop_token& cancel) {
  if (cancel.stop_requested()) return fail(ErrorKind::kTimeout, "the start was called off");
  return {};
}

}  // namespace

Result<std::unique_ptr<HostParts>> HostParts::open(EventLoop& loop,
                                                   const config::DomainConfig& domain,
                                                   DomainOptions& options,
                                                   std::function<void()> on_escape) {
  TRY(check_guest_memory(domain.memory_bytes, host_memory_bytes()));
  std::unique_ptr<HostParts> parts(new HostParts(options));
  parts->kvm_.emplace(TRY(Kvm::open()));
  TRY(check_capabilities(*parts->kvm_));
  if (domain.vcpus > parts->kvm_->max_vcpus())
    return fail(ErrorKind::kHost, "{} vCPUs: this host's KVM has at most {}", domain.vcpus,
                parts->kvm_->max_vcpus());
  TRY(parts->open_boot_files(domain, options.return_device_tree));
  TRY(parts->open_virtio(domain));
  options.secrets.clear();
  TRY(check_cancelled(options.cancel));
  TRY(parts->open_console(loop, domain, std::move(on_escape)));
  TRY(parts->start_io_threads());
  return parts;
}

HostParts::~HostParts() {
  for (const auto& [number, thread] : io_threads_) thread->stop();
}

namespace {

Result<firmware::BiosSource> open_bios(const config::DomainConfig& domain) {
  const config::BiosConfig& bios = domain.boot.bios;
  return firmware::BiosSource{.image = bios.image.empty()
                                           ? TRY(arch::Board::open_installed_bios())
                                           : TRY(firmware::ImageSource::open(bios.image)),
                              .boot_order = config::boot_order(domain),
                              .serial_console = bios.serial_console,
                              .menu_ms = bios.menu_ms,
                              .retry_ms = bios.retry_ms};
}

Result<firmware::BootSource> open_kernel(const config::BootConfig& boot, bool return_device_tree) {
  const bool builtin = boot.kind == config::BootKind::kBuiltinGuest;
  firmware::BootSource source{
      .kernel = builtin ? firmware::ImageSource::of_bytes(
                              std::as_bytes(firmware::small_guest_image()), boot.kernel)
                        : TRY(firmware::ImageSource::open(boot.kernel)),
      .initrd = {},
      .cmdline = boot.cmdline,
      .device_tree_as_module = builtin,  // that is how it finds its devices
      .return_device_tree = return_device_tree};
  if (!boot.initrd.empty()) source.initrd = TRY(firmware::ImageSource::open(boot.initrd));
  return source;
}

}  // namespace

Result<void> HostParts::open_boot_files(const config::DomainConfig& domain,
                                        bool return_device_tree) {
  if (domain.boot.kind == config::BootKind::kBios)
    boot_.emplace(TRY(open_bios(domain)));
  else
    boot_.emplace(TRY(open_kernel(domain.boot, return_device_tree)));
  return {};
}

Result<void> HostParts::open_virtio(const config::DomainConfig& domain) {
  reactor_ = std::make_unique<blockcore::EngineReactor>(TRY(io_thread(0))->engine());
  for (const VirtioKind& kind : virtio_kinds())
    for (size_t i = 0; i < kind.count(domain); ++i) {
      TRY(check_cancelled(options_.cancel));
      virtio_.push_back(TRY(kind.open(*this, domain, i)));
    }
  return {};
}

Result<void> HostParts::wait_for_helpers() {
  for (const Wait& wait : std::exchange(waits_, {})) TRY(wait(options_.cancel));
  return {};
}

Result<HostParts::OpenDisk> HostParts::open_disk(const config::DiskConfig& disk) {
  blockcore::IoEngine& engine = TRY(io_thread(disk.iothread))->engine();
  disks_.push_back(TRY(open_domain_disk(engine, disk, options_.ephemeral, options_.secrets)));
  engines_.push_back(&engine);
  return OpenDisk{*disks_.back(), engine};
}

Result<blockcore::IoThread*> HostParts::io_thread(unsigned number) {
  std::unique_ptr<blockcore::IoThread>& thread = io_threads_[number];
  if (thread == nullptr) thread = TRY(blockcore::IoThread::create());
  return thread.get();
}

Result<void> HostParts::start_io_threads() {
  for (const auto& [number, thread] : io_threads_)
    TRY(thread->start(number == 0 ? "block" : fmt::format("io{}", number)));
  return {};
}

Result<std::unique_ptr<virtio::WorkerThread>> HostParts::make_worker(std::string_view name) {
  return options_.one_io_thread ? virtio::WorkerThread::create_on(*reactor_)
                                : virtio::WorkerThread::create(name);
}

Result<void> HostParts::open_console(EventLoop& loop, const config::DomainConfig& domain,
                                     std::function<void()> on_escape) {
  config::ConsoleConfig config;
  config.kind = config::ConsoleKind::kStdio;
  if (domain.console) config = *domain.console;
  console_ = TRY(devices::Console::create(loop, to_console_options(config), std::move(on_escape)));
  console_->set_observer(options_.on_console_output);
  return {};
}

namespace {

struct Closing {
  std::vector<blockcore::Disk*> disks;  // of one thread
  std::binary_semaphore done{0};
  Result<void> first_error;
};

blockcore::Task<void> close_all(std::shared_ptr<Closing> closing) {
  for (blockcore::Disk* const disk : closing->disks) {
    Result<void> closed = co_await disk->close();
    if (!closed && closing->first_error) closing->first_error = std::move(closed);
  }
  closing->done.release();
}

}  // namespace

// On the images' thread, so that this one can see that it takes too long. False if it does not end.
bool HostParts::close_on(blockcore::IoThread& thread, std::chrono::milliseconds patience,
                         Result<void>& first_error) {
  const auto closing = std::make_shared<Closing>();
  for (size_t i = 0; i < disks_.size(); ++i)
    if (engines_[i] == &thread.engine()) closing->disks.push_back(disks_[i].get());
  thread.post([closing] { blockcore::start_detached(close_all(closing)); });
  if (!closing->done.try_acquire_for(patience)) {
    thread.post([closing] {
      for (blockcore::Disk* const disk : closing->disks) disk->abandon();
    });
    if (!closing->done.try_acquire_for(kFlushTime)) return false;
  }
  thread.stop();
  if (first_error) first_error = std::move(closing->first_error);
  return true;
}

Result<void> HostParts::close(std::chrono::milliseconds patience) {
  Result<void> first_error;
  for (const auto& [number, thread] : io_threads_) {
    if (!thread->running() || close_on(*thread, patience, first_error)) continue;
    leak_disks();
    return fail(ErrorKind::kIo, "the disks do not flush: they are left as after a crash");
  }
  disks_.clear();
  return first_error;
}

void HostParts::leak_disks() {
  [[maybe_unused]] auto* const reactor = reactor_.release();
  [[maybe_unused]] auto* const threads = new std::map(std::move(io_threads_));
  io_threads_.clear();  // NOLINT(clang-analyzer-cplusplus.NewDeleteLeaks): as below
  // The list as well: operations go through it.
  [[maybe_unused]] auto* const disks = new std::vector(std::move(disks_));
  disks_.clear();  // NOLINT(clang-analyzer-cplusplus.NewDeleteLeaks): that is what this is for
}

}  // namespace hull::vmm
