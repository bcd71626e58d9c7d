#include "vmm/session.h"

#include <sys/epoll.h>

#include "base/log.h"
#include "base/program_text.h"
#include "firmware/guest/image.h"
#include "virtio/tap.h"
#include "vmm/build_machine.h"
#include "vmm/open_disk.h"

namespace hull::vmm {

namespace {

constexpr std::chrono::milliseconds kStartUpIsOver{200};

devices::ConsoleOptions to_console_options(const config::ConsoleConfig& config) {
  devices::ConsoleOptions options;
  switch (config.kind) {
    case config::ConsoleKind::kStdio: options.kind = devices::ConsoleKind::kStdio; break;
    case config::ConsoleKind::kFile: options.kind = devices::ConsoleKind::kFile; break;
    case config::ConsoleKind::kPty: options.kind = devices::ConsoleKind::kPty; break;
    case config::ConsoleKind::kUnix: options.kind = devices::ConsoleKind::kUnix; break;
    case config::ConsoleKind::kNull: options.kind = devices::ConsoleKind::kNull; break;
  }
  options.path = config.path;
  options.append = config.append;
  options.log_file = config.log_file;
  options.log_append = config.log_append;
  return options;
}

// libvirt's on_poweroff, on_reboot and on_crash. What the host did is final.
config::LifecycleAction action_after(EndKind kind, const config::DomainConfig& domain) {
  switch (kind) {
    case EndKind::kPowerOff: return domain.on_poweroff;
    case EndKind::kReset: return domain.on_reboot;
    case EndKind::kPanic:
    case EndKind::kGuestCrash: return domain.on_crash;
    case EndKind::kDebugExit:
    case EndKind::kForced:
    case EndKind::kTimeout:
    case EndKind::kHostError: break;
  }
  return config::LifecycleAction::kDestroy;
}

}  // namespace

Result<std::unique_ptr<Session>> Session::create(const config::DomainConfig& domain,
                                                 const RunOptions& options, DiskSecrets secrets) {
  std::unique_ptr<Session> session(new Session(domain, options, TRY(EventLoop::create())));
  Session* const self = session.get();
  session->signals_.emplace(
      TRY(SignalWatcher::create(session->loop_, [self](int) { self->request_power_off(); })));
  session->kvm_.emplace(TRY(Kvm::open()));
  if (domain.vcpus > session->kvm_->max_vcpus())
    return fail(ErrorKind::kHost, "{} vCPUs: this host's KVM has at most {}", domain.vcpus,
                session->kvm_->max_vcpus());
  TRY(session->open_boot_files());
  TRY(session->open_disks(secrets));
  secrets.clear();
  TRY(session->open_networks());
  TRY(session->open_console());
  TRY(session->io_thread_->start("block"));
  return session;
}

Session::~Session() {
  machine_.reset();  // needs the I/O thread to drain its queues
  if (io_thread_ != nullptr) io_thread_->stop();
}

Result<void> Session::open_boot_files() {
  const config::BootConfig& boot = domain_.boot;
  const bool builtin = boot.kind == config::BootKind::kBuiltinGuest;
  boot_.emplace(firmware::BootSource{
      .kernel = builtin ? firmware::ImageSource::of_bytes(
                              std::as_bytes(firmware::small_guest_image()), boot.kernel)
                        : TRY(firmware::ImageSource::open(boot.kernel)),
      .initrd = {},
      .cmdline = boot.cmdline,
      .device_tree_as_module = builtin,  // that is how it finds its devices
      .return_device_tree = !options_.dump_dtb.empty()});
  if (!boot.initrd.empty()) boot_->initrd = TRY(firmware::ImageSource::open(boot.initrd));
  return {};
}

Result<void> Session::open_disks(const DiskSecrets& secrets) {
  io_thread_ = TRY(blockcore::IoThread::create());
  for (const config::DiskConfig& disk : domain_.disks)
    disks_.push_back(
        TRY(open_domain_disk(io_thread_->engine(), disk, options_.ephemeral, secrets)));
  return {};
}

Result<void> Session::open_networks() {
  for (const config::NetworkConfig& network : domain_.networks) {
    const size_t index = networks_.size();
    if (network.kind == config::NetworkKind::kUser)
      return fail(ErrorKind::kUnsupported, "net{}: user-mode networking is not built in; use a tap",
                  index);
    networks_.emplace_back();
    if (network.kind != config::NetworkKind::kNull)
      networks_.back() = TRY(virtio::Tap::open({.ifname = network.ifname,
                                                .create = network.managed,
                                                .bridge = network.bridge,
                                                .mtu = network.mtu})
                                 .with_context(fmt::format("net{}", index)));
    workers_.push_back(TRY(virtio::WorkerThread::create(fmt::format("net{}", index))));
  }
  if (domain_.rng) workers_.push_back(TRY(virtio::WorkerThread::create("rng")));
  return {};
}

Result<void> Session::open_console() {
  config::ConsoleConfig config;
  config.kind = config::ConsoleKind::kStdio;
  if (domain_.console) config = *domain_.console;
  console_ = TRY(
      devices::Console::create(loop_, to_console_options(config), [this] { request_power_off(); }));
  // Nobody could find the terminal otherwise, whatever the log level.
  if (config.kind == config::ConsoleKind::kPty)
    log_line(LogLevel::kInfo, fmt::format("console: {}", console_->path()));
  return {};
}

Result<EndReason> Session::run() {
  uint64_t timeout = 0;
  if (options_.timeout)
    timeout = loop_.call_after(*options_.timeout, [this] {
      force_off(EndKind::kTimeout, fmt::format("{} seconds are over", options_.timeout->count()));
    });
  const uint64_t settled = loop_.call_after(kStartUpIsOver, drop_resident_text);
  for (;;) {
    Result<EndReason> end = run_machine_once();
    const config::LifecycleAction action =
        end ? action_after(end->kind, domain_) : config::LifecycleAction::kDestroy;
    // A reset in the same moment must not outrun the order to stop.
    if (forced_ && action == config::LifecycleAction::kRestart) end = *forced_;
    // A guest that answers the power button with a reset would otherwise run for ever.
    if (action == config::LifecycleAction::kRestart && !power_button_pressed_ && !forced_) {
      if (!end->detail.empty())
        LOG_LIMITED(LogLevel::kWarn, "{}: restarted after: {}", domain_.name, end->detail);
      continue;
    }
    if (action == config::LifecycleAction::kPreserve && !power_button_pressed_) TRY(preserve(*end));
    loop_.cancel(timeout);
    loop_.cancel(settled);
    loop_.cancel(grace_timer_);
    return end;
  }
}

Result<void> Session::preserve(const EndReason& end) {
  LOG_WARN("{}: kept as on_crash, on_reboot or on_poweroff asks{}{}; a signal ends it",
           domain_.name, end.detail.empty() ? "" : ": ", end.detail);
  preserved_ = true;
  return loop_.run();
}

Result<void> Session::build(std::vector<uint8_t>* device_tree) {
  outcome_ = TRY(Outcome::create());
  machine_ = TRY(build_machine({.kvm = *kvm_,
                                .domain = domain_,
                                .boot = *boot_,
                                .outcome = *outcome_,
                                .disks = disks_,
                                .networks = networks_,
                                .engine = io_thread_->engine(),
                                .workers = workers_,
                                .debug_exit_port = options_.debug_exit_port},
                               device_tree));
  return {};
}

Result<std::vector<uint8_t>> Session::device_tree() {
  std::vector<uint8_t> tree;
  TRY(build(&tree));
  return tree;
}

Result<EndReason> Session::run_machine_once() {
  TRY(build(nullptr));
  TRY(console_->attach(machine_->serial()));
  TRY(loop_.add(outcome_->event_fd(), EPOLLIN, [this](uint32_t) { loop_.stop(); }));
  if (const Result<void> started = machine_->start(); !started)
    outcome_->record({.kind = EndKind::kHostError, .detail = started.error().message()});
  const Result<void> loop_result = loop_.run();
  if (!loop_result)
    outcome_->record({.kind = EndKind::kHostError, .detail = loop_result.error().message()});
  loop_.remove(outcome_->event_fd());
  machine_->stop();
  console_->flush();
  console_->detach();
  machine_.reset();
  return outcome_->reason();
}

void Session::request_power_off() {
  if (preserved_) return loop_.stop();
  if (machine_ == nullptr || power_button_pressed_)
    return force_off(EndKind::kForced, "switched off on request");
  power_button_pressed_ = true;
  machine_->power().press_power_button();
  grace_timer_ = loop_.call_after(options_.power_off_grace, [this] {
    force_off(EndKind::kForced, fmt::format("the guest did not switch itself off within {} seconds",
                                            options_.power_off_grace.count()));
  });
}

void Session::force_off(EndKind kind, std::string detail) {
  if (preserved_) return loop_.stop();
  forced_ = EndReason{.kind = kind, .detail = std::move(detail)};
  if (outcome_ != nullptr) outcome_->record(*forced_);
}

Result<void> Session::close() {
  machine_.reset();
  io_thread_->stop();
  Result<void> first_error;
  for (const auto& disk : disks_) {
    Result<void> closed = io_thread_->engine().run_until_done(disk->close());
    if (!closed && first_error) first_error = std::move(closed);
  }
  disks_.clear();
  return first_error;
}

}  // namespace hull::vmm
